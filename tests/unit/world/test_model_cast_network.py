"""The model, the people and the outside are functions of the seed and of what was sent."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chaoslab.core.jsons import canonical, plain
from chaoslab.history import Recorder, Writer
from chaoslab.scenario import Scenario, Use, find_workload
from chaoslab.world import BadRequest, ConnectionRefused, ModelReply
from chaoslab.world.cast import Cast, cast_of
from chaoslab.world.model import ModelService
from chaoslab.world.network import NetworkService
from chaoslab.world.request import Caller

SUPPORT = find_workload("support")


def cast(seed: int = 1, sessions: int = 2, tasks: int = 3) -> Cast:
    use = Use(sessions=sessions, tasks=tasks)
    scenario = Scenario(name="n", title="t", family="f", workload=use)
    return cast_of(scenario, SUPPORT, seed)


def model(seed: int = 1, rewords: bool = True) -> ModelService:
    return ModelService(seed, cast(seed).scripts, rewords=rewords)


def prompt(seed: int = 1) -> str:
    return cast(seed).scripts[0].prompt


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def result(content: Any) -> dict[str, Any]:
    return {"role": "tool", "id": "x", "name": "refund", "content": content}


def walk(service: ModelService) -> list[ModelReply]:
    """Asks until the model has nothing more to do."""
    messages = [user(prompt())]
    replies = []
    for _ in range(5):
        replies.append(service.apply(messages, ()))
        if not replies[-1].tool_calls:
            break
        messages.append(result({"ref": f"r{len(replies)}"}))
    return replies


# -- model


def test_the_answer_is_a_function_of_seed_and_transcript() -> None:
    assert walk(model()) == walk(model())


def test_the_plan_is_followed_step_by_step_to_the_answer() -> None:
    replies = walk(model())
    assert [c.name for r in replies for c in r.tool_calls] == ["refund", "notify"]
    assert replies[-1].finish == "stop" and "o-s1-t1" in replies[-1].text


def test_asked_again_the_call_id_is_fresh_and_only_free_text_is_reworded() -> None:
    service = model()
    calls = [service.apply([user(prompt())], ()).tool_calls[0] for _ in range(4)]
    assert len({c.id for c in calls}) == 4
    assert len({c.args["reason"] for c in calls}) > 1
    assert {(c.args["order"], c.args["amount_cents"]) for c in calls} == {
        (calls[0].args["order"], calls[0].args["amount_cents"])
    }


def test_without_rewording_the_arguments_stay_and_the_id_is_fresh_all_the_same() -> None:
    service = model(rewords=False)
    one, two = (service.apply([user(prompt())], ()).tool_calls[0] for _ in range(2))
    assert one.args == two.args and one.id != two.id


def test_the_transcript_is_only_read() -> None:
    messages = [user(prompt()), result({"ref": "r"})]
    before = copy.deepcopy(messages)
    model().apply(messages, ("refund",))
    assert messages == before


@pytest.mark.parametrize("content", [{"error": "conflict"}, '{"error": "x"}', ' {"error"'])
def test_an_error_as_result_makes_it_stop(content: Any) -> None:
    reply = model().apply([user(prompt()), result(content)], ())
    assert not reply.tool_calls and reply.finish == "stop"


def test_a_transcript_that_names_no_task_gets_words_and_no_action() -> None:
    reply = model().apply([user("hello")], ())
    assert reply.text and not reply.tool_calls


def test_an_empty_transcript_is_a_bad_request() -> None:
    with pytest.raises(BadRequest):
        model().apply([], ())


def test_the_last_task_that_was_asked_for_is_the_one_that_is_answered() -> None:
    scripts = cast().scripts
    messages = [
        user(scripts[0].prompt),
        result("r"),
        result("r"),
        user(f"Now: {scripts[3].prompt}"),
    ]
    call = model().apply(messages, ()).tool_calls[0]
    assert call.args["order"] == scripts[3].values["order"]


def test_an_answer_depends_on_what_the_agent_put_into_its_prompt() -> None:
    ship = cast().scripts[1]
    call = model().apply([user(f"{ship.prompt}\nstreet=Elm 5; city=Rome")], ()).tool_calls[0]
    assert (call.args["street"], call.args["city"]) == ("Elm 5", "Rome")


@pytest.mark.parametrize(
    ("mishap", "finish"),
    [
        ("refusal", "refusal"),
        ("truncated", "truncated"),
        ("malformed", "tool-calls"),
        ("unknown-tool", "tool-calls"),
    ],
)
def test_its_own_mishaps_look_like_a_real_models(mishap: str, finish: str) -> None:
    right = model().apply([user(prompt())], ()).tool_calls[0]
    reply = model().apply([user(prompt())], (), mishap)
    assert reply.finish == finish
    if mishap == "unknown-tool":
        assert reply.tool_calls[0].name not in SUPPORT.services
    elif mishap == "malformed":
        assert reply.tool_calls[0].args != right.args
    else:
        assert not reply.tool_calls


messages = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "role": st.sampled_from(["user", "tool", "assistant", "x"]) | st.integers(),
            "content": st.none()
            | st.text(max_size=9)
            | st.integers()
            | st.just(prompt())
            | st.lists(st.integers(), max_size=2),
        },
    ),
    min_size=1,
    max_size=5,
)


@given(messages)
@settings(max_examples=80, deadline=None)
def test_no_transcript_whatever_breaks_it(sent: list[dict[str, Any]]) -> None:
    assert model().apply(sent, ()) == model().apply(sent, ())


# -- cast


@given(st.integers(0, 2**40))
@settings(max_examples=20, deadline=None)
def test_the_people_are_a_function_of_the_seed(seed: int) -> None:
    one, two = cast(seed), cast(seed)
    assert one == two
    for tasks in one.sessions.values():
        for task in tasks:
            canonical(plain(task.data, where="data"))


def test_another_seed_gives_other_people_and_the_same_shape() -> None:
    one, two = cast(1), cast(2)
    assert [t.id for s in one.sessions.values() for t in s] == [
        t.id for s in two.sessions.values() for t in s
    ]
    assert one.scripts[0].prompt != two.scripts[0].prompt


def test_more_sessions_or_tasks_change_nothing_for_those_there_were() -> None:
    small, large = cast(5, 1, 1), cast(5, 4, 4)
    assert small.sessions["s1"][0] == large.sessions["s1"][0]


def test_every_session_has_a_canary_of_its_own() -> None:
    people = cast(3, sessions=20, tasks=1)
    canaries = {s.values["canary"] for s in people.scripts}
    assert len(canaries) == 20
    for session, tasks in people.sessions.items():
        text = canonical(plain(tasks[0].data, where="data"))
        assert f"cnry-{session}-" in text


def test_no_prompt_is_part_of_another() -> None:
    """A model that finds its task by the prompt must find the right one."""
    prompts = [s.prompt for s in cast(1, sessions=12, tasks=12).scripts]
    assert len(set(prompts)) == len(prompts)
    assert not [p for p in prompts for q in prompts if p != q and p in q]


# -- network


def caller() -> Caller:
    return Caller(process="p", region="r", session="s", task="t", tenant="x", call=0, now_ns=0)


@pytest.mark.parametrize("url", ["http://nobody.example/", "nonsense", "", "http://[bad", "//"])
def test_where_nobody_listens_the_connection_is_refused(url: str) -> None:
    service = NetworkService(Recorder(Writer(None, {}), lambda: 0))
    with pytest.raises((ConnectionRefused, BadRequest)):
        service.apply(caller(), "POST", url, b"")


def test_reading_has_no_effect_and_writing_is_recorded() -> None:
    recorder = Recorder(Writer(None, {}), lambda: 0)
    service = NetworkService(recorder)
    for method in ("GET", "HEAD", "get"):
        assert service.apply(caller(), method, "http://kb.example/", b"").status == 200
        assert service.apply(caller(), method, "http://kb.example/a", b"").status == 404
    assert recorder.ops == []
    assert service.apply(caller(), "post", "http://kb.example/a", b"\xff").status == 202
    assert recorder.ops[0].marker == "POST http://kb.example/a"
