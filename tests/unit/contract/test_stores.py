"""What `--store` takes, and that no password is ever shown."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from chaoslab.backends.live import check_store, shim_target
from chaoslab.contract.stores import SQLITE, StoreAt, store_from
from chaoslab.core.errors import UsageError
from chaoslab.run.model import RunRecord
from chaoslab.run.rebuild import spec_of
from chaoslab.run.select import REFERENCE, scenario_files, specs_for, with_store
from chaoslab.run.store import Campaign

WORD = "hun/ter@2:2"
QUOTED = "hun%2Fter%402%3A2"
ADDRESS = f"postgresql://lab:{QUOTED}@127.0.0.1:5433/test"
PLAIN = "postgresql://lab@127.0.0.1:5433/test"


def refusal(text: str, **environment: str) -> str:
    with pytest.raises(UsageError) as refused:
        store_from(text, environment=environment)
    return str(refused.value)


def test_sqlite_is_what_nobody_has_to_name() -> None:
    assert store_from("sqlite", environment={}) is SQLITE is store_from("", environment={})
    assert shim_target("a.py:make").store is SQLITE


def test_the_parts_of_an_address() -> None:
    store = store_from(ADDRESS, environment={})
    assert (store.user, store.password) == ("lab", WORD)
    assert (store.host, store.port, store.database) == ("127.0.0.1", 5433, "test")
    assert (str(store), store.url) == (PLAIN, ADDRESS)
    assert store_from("postgres://[::1]/d", environment={}).url == "postgresql://[::1]:5432/d"


def test_what_is_said_of_it_never_has_the_password() -> None:
    store = store_from(ADDRESS, environment={})
    told = [str(store), repr(store), repr(replace(shim_target("a"), store=store)), store.to_json()]
    assert not any(part in str(one) for one in told for part in (WORD, QUOTED))
    assert store.environment == {"PGPASSWORD": WORD}
    assert store.hidden(f"no such role: {ADDRESS}, {WORD}") == (
        "no such role: postgresql://lab:…@127.0.0.1:5433/test, …"
    )
    assert pickle.loads(pickle.dumps(store)) == store  # a worker still has it


def test_where_else_a_password_and_an_address_come_from() -> None:
    assert store_from(PLAIN, environment={"PGPASSWORD": WORD}).password == WORD
    assert store_from(ADDRESS, environment={"PGPASSWORD": "other"}).password == WORD
    assert store_from("postgresql", environment={"CHAOSLAB_POSTGRES": ADDRESS}).password == WORD
    # A run that is done again has its address on record, and no password.
    assert store_from(PLAIN, environment={"CHAOSLAB_POSTGRES": ADDRESS}).password == WORD
    other = "postgresql://lab@127.0.0.1/test"
    assert store_from(other, environment={"CHAOSLAB_POSTGRES": ADDRESS}).password == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mysql://lab:SECRET@h/d", "'mysql://lab:…@h/d'"),
        ("sqlite:///lab.db", "cannot be used"),
        ("postgresql://lab:SECRET@h:port/d", "has no address that can be read"),
        ("postgresql://lab:SECRET", "'postgresql://lab:…'"),
        ("postgresql://lab:SEC/RET@h/d", "'postgresql://lab:…@h/d'"),
        ("postgresql://lab:SECRET@/d", "has no plain host"),
        ("postgresql:///d?host=/tmp&password=SECRET", "has no plain host"),
        ("postgresql://h/d?password=SECRET", "has more behind its database"),
        ("postgresql://lab:SECRET@h/", "names no database"),
        ("postgresql://lab:SECRET@h/a%00b", "names no database"),
        ("postgresql://lab:SECRET@h/a/b", "has more behind its database"),
    ],
)
def test_what_is_refused_and_that_it_tells_no_password(text: str, words: str) -> None:
    for said in (refusal(text), refusal("postgresql", CHAOSLAB_POSTGRES=text)):
        assert words in said
        assert "allowed: " in said and "next: " in said
        assert "SEC" not in said and "RET" not in said


def test_an_address_that_the_environment_does_not_have() -> None:
    assert "CHAOSLAB_POSTGRES does not say where" in refusal("postgresql")


def test_the_simulator_has_no_use_for_a_store() -> None:
    specs = specs_for(scenario_files(["matrix/timeout-after-commit"]), REFERENCE, seeds=[0])
    store = store_from(ADDRESS, environment={})
    with pytest.raises(UsageError, match="the simulator has its own memory") as refused:
        with_store(specs, store)
    assert WORD not in str(refused.value) and QUOTED not in str(refused.value)
    assert with_store(specs, SQLITE) == specs


def test_a_store_that_is_not_there_is_one_line() -> None:
    pytest.importorskip("psycopg")
    store = StoreAt(kind="postgresql", user="lab", password=WORD, host="127.0.0.1", port=1)
    with pytest.raises(UsageError) as refused:
        check_store(replace(store, database="test"))
    said = str(refused.value)
    assert "the store cannot be used: " in said and "'postgresql://lab@127.0.0.1:1/test'" in said
    assert "\n" not in said and WORD not in said and QUOTED not in said


def test_a_run_over_another_store_is_another_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = scenario_files(["matrix/timeout-after-commit"])
    [plain] = specs_for(files, REFERENCE, seeds=[0], backend="process")
    assert plain.target is not None
    store = replace(store_from(ADDRESS, environment={}), server="15.1")
    spec = replace(plain, target=replace(plain.target, store=store))
    assert spec.fingerprint != plain.fingerprint

    campaign = Campaign.create(tmp_path)
    folder = campaign.begin(spec.id)
    campaign.finish(RunRecord(spec=spec))
    text = (folder / "run.json").read_text()
    assert '"kind": "postgresql"' in text and '"server": "15.1"' in text
    assert not any(word in text for word in (WORD, QUOTED))

    monkeypatch.setenv("PGPASSWORD", WORD)
    again = spec_of(folder)
    assert again.target is not None
    assert again.target.store == replace(store, server="")
