"""Where effects are read: every kind of source, from the real thing, and what each refuses."""

from __future__ import annotations

import asyncio
import http.server
import json
import os
import sqlite3
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from chaoslab.contract import Contract, ToolContract
from chaoslab.contract.target import EffectSource, Target, Upstream
from chaoslab.core.errors import AdapterError
from chaoslab.serve import sources
from chaoslab.serve.sources import Row, SourceError, source_of

SQL = "select id, idem_key, order_id, share from refunds where run = {run} order by id"


def tool_of(effects: EffectSource | None, match: str = "POST billing/v1/refunds") -> ToolContract:
    return ToolContract(name="refund", match=match, effects=effects)


def read(
    effects: EffectSource | None, contract: Contract | None = None, **holes: Any
) -> tuple[Row, ...]:
    more = {"call_mcp": holes.pop("call_mcp")} if "call_mcp" in holes else {}
    source = source_of(tool_of(effects), contract or Contract(), {"run": "r1", **holes}, **more)
    return asyncio.run(source.read())


def failing(effects: EffectSource | None, *args: Any, **holes: Any) -> SourceError:
    with pytest.raises(SourceError) as caught:
        read(effects, *args, **holes)
    assert caught.value.tool == "refund"
    assert "; next: " in str(caught.value)
    return caught.value


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "app of #1?.db"
    with closing(sqlite3.connect(path)) as made:
        made.executescript(
            """
            pragma journal_mode = wal;
            create table refunds (id integer primary key, idem_key, order_id, share, run);
            insert into refunds values (1, 'k1', 'o-1', 0.5, 'r1'), (2, null, 'o-2', 2.0, 'r1'),
                                       (3, 'k3', 'o-3', null, 'r2');
            """
        )
    return path


# -- sql


def test_a_query_gives_rows_with_reference_key_and_fields(base: Path) -> None:
    rows = read(EffectSource(sql=SQL, database=str(base)))
    assert rows == (
        Row("1", "k1", {"id": 1, "idem_key": "k1", "order_id": "o-1", "share": "0.5"}),
        Row("2", None, {"id": 2, "idem_key": None, "order_id": "o-2", "share": 2}),
    )
    named = read(EffectSource(sql=SQL, database=f"sqlite:///{base}", ref="order_id", key="share"))
    assert [(row.ref, row.key) for row in named] == [("o-1", "0.5"), ("o-2", "2")]


def test_a_hole_is_a_value_and_never_sql(base: Path) -> None:
    effects = EffectSource(sql=SQL, database=str(base))
    assert read(effects, run="r1' or '1' = '1") == ()
    assert [row.ref for row in read(effects, run="r2")] == ["3"]
    missing = failing(EffectSource(sql="select {other}", database=str(base)))
    assert "{other}" in str(missing) and "{run}" in str(missing)


def test_what_a_writer_committed_meanwhile_is_seen(base: Path) -> None:
    source = source_of(
        tool_of(EffectSource(sql=SQL, database=str(base))), Contract(), {"run": "r1"}
    )
    assert len(asyncio.run(source.read())) == 2
    with closing(sqlite3.connect(base)) as writer:
        writer.execute("insert into refunds values (9, 'k9', 'o-9', 0, 'r1')")
        assert len(asyncio.run(source.read())) == 2  # not yet committed
        writer.commit()
        assert len(asyncio.run(source.read())) == 3


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("delete from refunds", "readonly database"),
        ("insert into refunds values (4, 4, 4, 4, 4)", "readonly database"),
        ("select 1; select 2", "one statement at a time"),
        ("pragma query_only = off", "allowed: a select"),
        ("selekt", "syntax error"),
        ("with recursive n(i) as (select 1 union all select i + 1 from n) select i from n", "2000"),
        ("select null", "a row has no reference in 'null'"),
        ("select idem_key, id from refunds where run = {run}", "a row has no reference"),
        ("select 'x' as id from refunds", "two rows have the reference 'x'"),
    ],
)
def test_only_a_bounded_query_with_references_is_taken(base: Path, sql: str, says: str) -> None:
    assert says in str(failing(EffectSource(sql=sql, database=str(base))))
    with closing(sqlite3.connect(base)) as made:
        assert made.execute("select count(*) from refunds").fetchone() == (3,)


def test_a_query_without_end_is_stopped(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chaoslab.serve.sql.READ_MS", 100)
    endless = "with recursive n(i) as (select 1 union all select i + 1 from n) select max(i) from n"
    assert "interrupted" in str(failing(EffectSource(sql=endless, database=str(base))))


def test_what_the_service_has_not_made_yet_is_absent(tmp_path: Path, base: Path) -> None:
    assert failing(EffectSource(sql=SQL, database=str(tmp_path / "none.db"))).absent
    assert failing(EffectSource(sql="select * from other", database=str(base))).absent
    assert not failing(EffectSource(sql="select nothing from refunds", database=str(base))).absent
    assert not (tmp_path / "none.db").exists()


def test_the_database_is_the_sources_then_the_services_then_the_agents(base: Path) -> None:
    effects, state = EffectSource(sql=SQL), str(base.parent)
    hole = "{state}/" + base.name
    target = Target(commands=(), database=hole)
    assert len(read(effects, Contract(target=target), state=state)) == 2
    of_service = Upstream(name="billing", database=str(base.parent / "x.db"))
    contract = Contract(target=target, services={"billing": of_service})
    assert failing(effects, contract, state=state).absent
    assert "no database is named" in str(failing(effects))
    assert "{state}" in str(failing(EffectSource(sql=SQL, database=hole)))


def test_postgres_without_its_driver_says_what_to_install() -> None:
    try:
        import psycopg  # noqa: F401
    except ImportError:
        found = failing(EffectSource(sql=SQL, database="postgresql://127.0.0.1:1/x"))
        assert "chaoslab[real]" in str(found)
    else:
        assert "connect" in str(
            failing(EffectSource(sql=SQL, database="postgresql://127.0.0.1:1/x"))
        )


def test_no_source_says_which_line_to_add() -> None:
    assert "[tools.refund]" in str(failing(None))


# -- get


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", asked
        finally:
            server.shutdown()
            thread.join()


def test_an_address_gives_the_rows_at_a_path_of_its_json() -> None:
    found = {"data": {"items": [{"id": "a", "meta": {"k": "k1"}, "share": 0.25}]}}
    with answering(200, json.dumps(found).encode()) as (url, asked):
        contract = Contract(services={"billing": Upstream(name="billing", url=url)})
        effects = EffectSource(
            get="{services.billing}/refunds?run={run}", path="data.items", key="meta.k"
        )
        # What the agent would use leads through the lab, and reading must not.
        rows = read(effects, contract, **{"services.billing": "http://127.0.0.1:1/token/p1"})
        wrong = failing(EffectSource(get=url, path="data.rows"))
    assert rows == (Row("a", "k1", {"id": "a", "meta": {"k": "k1"}, "share": "0.25"}),)
    assert asked[0] == "/refunds?run=r1"
    assert "'data.rows'" in str(wrong)


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [(500, b"[]", "answered 500"), (302, b"[]", "answered 302"), (200, b"<html>", "not JSON")],
)
def test_an_address_that_does_not_answer_json_is_an_error(
    status: int, body: bytes, says: str
) -> None:
    with answering(status, body, Location="/x") as (url, asked):
        assert says in str(failing(EffectSource(get=url)))
    assert len(asked) == 1
    assert "cannot be reached" in str(failing(EffectSource(get=url)))


def test_an_address_beyond_this_machine_is_refused() -> None:
    assert "beyond this machine" in str(failing(EffectSource(get="http://billing.example.com/")))


# -- tool


@pytest.mark.parametrize(
    "result",
    [
        [{"id": "a"}],
        {"structuredContent": {"result": [{"id": "a"}]}, "content": []},
        {"content": [{"type": "text", "text": '[{"id": "a"}]'}]},
    ],
)
def test_an_mcp_tool_gives_rows(result: Any) -> None:
    asked: list[Any] = []

    async def call(service: str, tool: str, args: Mapping[str, Any]) -> Any:
        asked.append((service, tool, dict(args)))
        return result

    contract = Contract(services={"crm": Upstream(name="crm", mcp="http://127.0.0.1:1/mcp")})
    effects = EffectSource(tool="crm/list", args={"of": "{run}", "most": 5})
    assert [row.ref for row in read(effects, contract, call_mcp=call)] == ["a"]
    assert asked == [("crm", "list", {"of": "r1", "most": 5})]
    assert "there is no MCP service" in str(failing(EffectSource(tool="crm/list"), call_mcp=call))


def test_an_mcp_tool_that_fails_is_an_error() -> None:
    async def breaks(service: str, tool: str, args: Mapping[str, Any]) -> Any:
        raise OSError("gone")

    async def says_no(service: str, tool: str, args: Mapping[str, Any]) -> Any:
        return {"isError": True, "content": [{"type": "text", "text": "no such run"}]}

    contract = Contract(services={"crm": Upstream(name="crm")})
    effects = EffectSource(tool="crm/list")
    assert "OSError" in str(failing(effects, contract, call_mcp=breaks))
    assert "no such run" in str(failing(effects, contract, call_mcp=says_no))


# -- command


def python(code: str, *args: str) -> EffectSource:
    return EffectSource(command=(sys.executable, "-c", code, *args))


def test_a_command_prints_one_object_a_line() -> None:
    code = 'import sys; print(\'{"id": 1}\\n\\n{"id": 2, "key": "\' + sys.argv[1] + \'"}\')'
    rows = read(python(code, "k-{run}"))
    assert [(row.ref, row.key) for row in rows] == [("1", None), ("2", "k-r1")]
    assert read(python("")) == ()


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('no such run')", "ended with code 1: no such run"),
        ("print('{\"id\": 1}\\nhello')", "line 2 is not JSON"),
        ("print('[1]')", "a row is list"),
        ("import os\nwhile True: os.write(1, bytes(1 << 16))", "printed more than"),
    ],
)
def test_a_command_that_goes_wrong_says_how(code: str, says: str) -> None:
    assert says in str(failing(python(code)))


def test_no_command_says_what_it_looked_for() -> None:
    found = failing(EffectSource(command=("no-such-command-here",)))
    assert "'no-such-command-here' cannot be started" in str(found)


def test_nothing_of_a_command_is_left_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "READ_S", 1.0)
    code = (
        "import os, sys, time\n"
        "if not os.fork():\n"
        "    open(sys.argv[1], 'w').write(str(os.getpid()))\n"
        "    os.rename(sys.argv[1], sys.argv[2])\n"
        "    time.sleep(60)\n"
    )
    wrote, told = tmp_path / "writing", tmp_path / "pid"
    assert "did not end" in str(failing(python(code, str(wrote), str(told))))
    child = int(told.read_text())
    assert _ends(child)


def _ends(pid: int) -> bool:
    for _ in range(200):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        threading.Event().wait(0.01)
    return False


# -- function


def test_a_function_is_called_with_the_holes(tmp_path: Path) -> None:
    path = tmp_path / "effects.py"
    path.write_text(
        "def refunds(holes):\n"
        "    yield {'id': holes['run'], 'key': 'k', 'share': 1.5, 'raw': b'\\x01'}\n"
        "def broken(holes):\n"
        "    raise KeyError('x')\n"
    )
    (row,) = read(EffectSource(function=f"{path}:refunds"))
    assert row == Row("r1", "k", {"id": "r1", "key": "k", "share": "1.5", "raw": "01"})
    assert "KeyError" in str(failing(EffectSource(function=f"{path}:broken")))
    with pytest.raises(AdapterError):
        read(EffectSource(function=f"{path}:nothing"))


def test_reading_leaves_no_descriptor_behind(base: Path) -> None:
    effects = EffectSource(sql=SQL, database=str(base))
    read(effects)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        read(effects)
        read(python("print('{\"id\": 1}')")) if _ < 2 else None
    assert len(os.listdir("/proc/self/fd")) <= before
