"""Who is told what, by whom, how often: with a real broker, real servers, real programs."""

from __future__ import annotations

import email
import json
import os
import stat
import sys
from email import policy as mail_policy
from pathlib import Path

import pytest

from tests.support.listeners import mail_server, webhook
from tests.support.waiting import wait_for
from vh5d.errors import ServiceError
from vh5d.policy import load_config
from vh5d.service.catalog.address import connect
from vh5d.service.catalog.catalog import Catalog
from vh5d.service.catalog.source import FileStat, State
from vh5d.service.telling import herald as herald_module
from vh5d.service.telling import notifications, outbox, program
from vh5d.service.telling.herald import Herald, deliver, group_of, letters
from vh5d.service.telling.outbox import MOST_ATTEMPTS, Letter, Outbox

STAT = FileStat(size=1000, mtime_ns=1, inode=2, device=3)
A = Path("/d/a.h5")
GROUP = group_of("p")


@pytest.fixture
def configure(tmp_path):
    def configure(*, mail=None, **policy):
        settings = {"name": "p", "watch": "/d", **policy}
        path = tmp_path / "vh5d.yaml"
        path.write_text(json.dumps({"policies": [settings], **({"mail": mail} if mail else {})}))
        return load_config(path)

    return configure


@pytest.fixture
def script(tmp_path):
    """A program that notes what it is given, and then does what its body says."""

    def script(body="", name="note"):
        path = tmp_path / name
        path.write_text(
            f"#!{sys.executable}\n"
            "import json, os, sys, time\n"
            "given = json.load(sys.stdin)\n"
            "given['environment'] = {k: v for k, v in os.environ.items() if k[:5] == 'VH5D_'}\n"
            f"with open({str(tmp_path / 'notes')!r}, 'a') as notes:\n"
            "    notes.write(json.dumps(given) + '\\n')\n" + body
        )
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return str(path)

    return script


@pytest.fixture
def notes(tmp_path):
    def notes():
        path = tmp_path / "notes"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    return notes


@pytest.fixture
def catalog(redis_client):
    return Catalog(redis_client)


@pytest.fixture
def run(broker, redis_client, monkeypatch):
    monkeypatch.setattr(herald_module, "PAUSE", 0.05)
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 0.05)
    running = []

    def run(config):
        running.append(Herald(Catalog(connect(broker.url)), lambda: config))
        running[-1].start()
        wanted = {group_of(policy.name) for policy in config.policies}
        wait_for(lambda: wanted <= groups(redis_client), "the herald")
        return running[-1]

    yield run
    for each in running:
        each.stop(10)


def groups(client):
    stream = f"{outbox.PREFIX}events"
    return (
        {each["name"] for each in client.xinfo_groups(stream)} if client.exists(stream) else set()
    )


def capture(catalog, path=A, *, changed=True, state=State.CURRENT, **known):
    catalog.claims.take(path, "p", "change", "0123456789abcdef")
    before = catalog.captures.started(path, "p")
    known = {"version": "v1", "bytes_added": 10, "store": "/d/.vh5d/a.h5", **known}
    catalog.captures.captured(path, STAT, state=state, before=before, changed=changed, **known)


def fail(catalog, path=A, error="no room"):
    catalog.claims.take(path, "p", "change", "0123456789abcdef")
    before = catalog.captures.started(path, "p")
    catalog.captures.postponed(
        path, 60, error, state=State.FAILED, attempts=1, busy=0, before=before
    )


def test_a_hook_is_told_of_a_version(configure, script, notes, run, catalog, monkeypatch):
    monkeypatch.setenv("VH5D_BROKER", "redis://user:secret@host/0")
    run(configure(hooks={"after_capture": [script()]}))
    capture(catalog, changed=False)
    capture(catalog)
    (note,) = wait_for(notes, "the hook")
    assert (note["path"], note["version"], note["policy"]) == (str(A), "v1", "p")
    environment = note["environment"]
    assert environment["VH5D_PATH"] == str(A)
    assert environment["VH5D_VERSION"] == "v1"
    assert environment["VH5D_CAPTURE"] == "0123456789abcdef"
    assert environment["VH5D_CHANGED"] == "true"
    assert "VH5D_BROKER" not in environment


def test_a_hook_is_told_of_a_failure_and_its_own_is_logged(
    configure, script, notes, run, catalog, redis_client
):
    body = "sys.exit('the disk is\\nred')"
    run(configure(hooks={"on_failure": [script(body)]}))
    fail(catalog)
    (note,) = wait_for(notes, "the hook")
    assert note["error"] == "no room"
    assert note["next_try"].endswith("+00:00")
    wait_for(lambda: outbox.counts(redis_client), "its end")
    assert outbox.counts(redis_client) == {("p", "failed", "failed"): 1}
    assert outbox.waiting(redis_client, ["p"]) == 0


def test_a_webhook_hears_of_it_until_it_answers(configure, run, catalog, redis_client):
    with webhook() as heard:
        heard.answers = [500, 302, 503]
        run(configure(notify=[{"webhook": f"http://127.0.0.1:{heard.port}/x?token=secret"}]))
        fail(catalog)
        (message,) = wait_for(lambda: heard.messages, "the message")
        assert message["text"] == f"vh5d: {A}: cannot be captured: no room"
        assert (message["kind"], message["policy"]) == ("failed", "p")
        assert message["event"]["attempts"] == 1
        wait_for(lambda: not outbox.waiting(redis_client, ["p"]), "the end")
    assert outbox.counts(redis_client) == {("p", "failed", "sent"): 1}


def test_of_a_flood_one_message_is_sent_and_the_next_counts(configure, run, catalog):
    with webhook() as heard:
        way = {"webhook": f"http://127.0.0.1:{heard.port}/", "at_most": "500ms"}
        run(configure(notify=[way]))
        for number in range(20):
            fail(catalog, Path(f"/d/{number}.h5"))
        wait_for(lambda: heard.messages, "the first")
        capture(catalog, Path("/d/unclean.h5"), state=State.UNCLEAN)
        wait_for(lambda: len(heard.messages) == 2, "another kind has its own limit")

        def again():
            fail(catalog, Path("/d/last.h5"))
            return len(heard.messages) == 3

        wait_for(again, "the next after the pause")
    first, unclean, last = heard.messages
    assert first["held"] == 0
    assert unclean["kind"] == "unclean"
    assert last["held"] >= 1
    assert f"and {last['held']} more of policy p since the last message" in last["text"]


def test_a_mail_is_written(configure, run, catalog):
    with mail_server(login=True) as heard:
        mail = {
            "server": "127.0.0.1",
            "port": heard.port,
            "from": "vh5d@example.org",
            "user": "me",
            "password": "secret",
            "tls": "none",
        }
        run(configure(mail=mail, notify=[{"mail": "lab@example.org"}]))
        fail(catalog, Path("/d/µ\n.h5"))
        (raw,) = wait_for(lambda: heard.messages, "the mail")
    message = email.message_from_bytes(raw, policy=mail_policy.default)
    assert message["Subject"] == "vh5d: /d/µ .h5: cannot be captured: no room"
    assert message["To"] == "lab@example.org"
    assert message["Auto-Submitted"] == "auto-generated"
    assert "error: no room" in message.get_content()
    assert len(heard.logins) == 1


@pytest.mark.parametrize("way", ["webhook", "mail"])
def test_no_secret_is_in_what_is_logged_or_kept(configure, way, redis_client):
    letter = Letter(id="1:0", policy="p", way="notify", kind="failed", event={"event": "failed"})
    with mail_server(login=True) as heard:
        heard.answers = [535]
        mail = {"server": "127.0.0.1", "port": heard.port, "from": "a@b.c"}
        mail |= {"user": "me", "password": "topsecret", "tls": "none"}
        url = "http://127.0.0.1:9/hook/topsecret?token=topsecret"
        notify = {"webhook": url} if way == "webhook" else {"mail": "lab@example.org"}
        config = configure(mail=mail, notify=[notify])
        with pytest.raises(ServiceError) as raised:
            deliver(letter, config.policies[0], config)
    assert "secret" not in str(raised.value)
    assert raised.value.__suppress_context__
    # The login as the server repeats it, in base 64.
    assert "AHRvcHNlY3JldA" not in str(raised.value)
    (made,) = letters("1", {"event": "failed", "policy": "p", "at": 0}, config.policies[0])
    pipeline = redis_client.pipeline()
    Outbox(redis_client).put(pipeline, made, 0)
    pipeline.execute()
    assert "secret" not in redis_client.get(f"{outbox.PREFIX}letter:{made.id}")


def test_a_command_that_fails_is_run_again(configure, script, notes, run, catalog, tmp_path):
    body = f"sys.exit(len(open({str(tmp_path / 'notes')!r}).readlines()) < 3)"
    run(configure(notify=[{"command": [script(body)], "on": ["quota"]}]))
    fail(catalog)
    catalog.tell("quota", policy="p", error="over it")
    assert len(wait_for(lambda: len(notes()) == 3 and notes(), "the third time")) == 3
    assert {note["kind"] for note in notes()} == {"quota"}


def test_a_policy_that_falls_silent_is_told_of_once(
    configure, run, catalog, monkeypatch, redis_client
):
    monkeypatch.setattr(herald_module, "LOOK", 0.1)
    with webhook() as heard:
        way = {"webhook": f"http://127.0.0.1:{heard.port}/", "at_most": "1ms"}
        config = configure(stale_after="400ms", notify=[way])
        run(config)
        run(config)
        wait_for(lambda: len(heard.messages) == 1, "the silence before the first version")
        capture(catalog)
        wait_for(lambda: len(heard.messages) == 2, "the silence after it")
        capture(catalog)
        wait_for(lambda: len(heard.messages) == 3, "the next")
    assert {message["kind"] for message in heard.messages} == {"stale"}
    stale = [event for _, event in catalog.events() if event["event"] == "stale"]
    assert len(stale) == 3


def test_what_happens_while_no_herald_lives_is_told_by_the_next(
    configure, run, catalog, script, notes, redis_client
):
    config = configure(hooks={"after_capture": [script()]})
    run(config).stop(10)
    for number in range(5):
        capture(catalog, Path(f"/d/{number}.h5"))
    run(config)
    run(config)
    wait_for(lambda: len(notes()) == 5, "all of them")
    stream = f"{outbox.PREFIX}events"
    assert redis_client.xpending(stream, GROUP)["pending"] == 0
    assert sorted(note["path"] for note in notes()) == [f"/d/{n}.h5" for n in range(5)]


def test_each_policy_is_told_of_by_those_who_have_it(configure, run, catalog, script, notes):
    other = configure(name="other", hooks={"after_capture": [script()]})
    run(other)
    ours = configure(hooks={"after_capture": [script()]})
    run(ours)
    for number in range(5):
        capture(catalog, Path(f"/d/{number}.h5"))
    wait_for(lambda: len(notes()) == 5, "all of them")
    assert {note["policy"] for note in notes()} == {"p"}


def test_what_a_dead_herald_had_read_is_told_by_another(
    configure, run, catalog, script, notes, redis_client, monkeypatch
):
    monkeypatch.setattr(herald_module, "LOOK", 0.05)
    monkeypatch.setattr(herald_module, "LEFT", 0.1)
    config = configure(hooks={"after_capture": [script()]})
    stream = f"{outbox.PREFIX}events"
    redis_client.xgroup_create(stream, GROUP, id="0", mkstream=True)
    capture(catalog)
    redis_client.xreadgroup(GROUP, "dead", {stream: ">"})
    run(config)
    wait_for(notes, "the event")
    wait_for(
        lambda: "dead" not in {m["name"] for m in redis_client.xinfo_consumers(stream, GROUP)},
        "the dead one to be forgotten",
    )
    assert len(notes()) == 1


def test_a_broker_that_forgets_everything_is_told_of_again(
    configure, run, catalog, script, notes, redis_client
):
    run(configure(hooks={"after_capture": [script()]}))
    capture(catalog)
    wait_for(lambda: len(notes()) == 1, "the first")
    redis_client.flushall()
    capture(catalog)
    wait_for(lambda: len(notes()) == 2, "the one after")


def test_what_others_put_into_the_broker_is_passed_over(
    configure, run, catalog, script, notes, redis_client
):
    stream = f"{outbox.PREFIX}events"
    run(configure(hooks={"after_capture": [script()]}))
    for content in ({"event": "{"}, {"other": "x"}, {"event": "[1]"}, {"event": '{"policy": "p"}'}):
        redis_client.xadd(stream, content)
    for letter in ("not JSON", '{"id": "x"}'):
        redis_client.set(f"{outbox.PREFIX}letter:{letter}", letter)
        redis_client.zadd(f"{outbox.PREFIX}outbox:p", {letter: 0})
    for path in ("/etc/passwd", "/d/../x.h5", None):
        known = {"event": "captured", "changed": True, "policy": "p", "path": path, "A=B": "x"}
        redis_client.xadd(stream, {"event": json.dumps(known)})
    known |= {"path": "/d/made-up.h5"}
    redis_client.xadd(stream, {"event": json.dumps(known)})
    capture(catalog)
    wait_for(lambda: len(notes()) == 2 and not outbox.waiting(redis_client, ["p"]), "the end")
    assert {note["path"] for note in notes()} == {"/d/made-up.h5", str(A)}
    assert redis_client.xpending(stream, GROUP)["pending"] == 0


def test_a_letter_is_taken_by_one_and_comes_back_if_he_dies(redis_client):
    box = Outbox(redis_client)
    letter = Letter(id="1:0", policy="p", way="notify", kind="failed")
    pipeline = redis_client.pipeline()
    box.put(pipeline, letter, 100.0)
    pipeline.execute()
    assert box.take(["other", "p"], 99.0, 10.0) is None
    assert box.take(["other", "p"], 101.0, 10.0) == letter
    assert box.take(["other", "p"], 102.0, 10.0) is None
    assert box.take(["other", "p"], 112.0, 10.0) == letter


def test_a_letter_is_given_up_in_the_end(redis_client):
    box = Outbox(redis_client)
    pipeline = redis_client.pipeline()
    box.put(pipeline, Letter(id="1:0", policy="p", way="notify", kind="failed"), 0.0)
    pipeline.execute()
    now, times = 0.0, []
    while (letter := box.take(["p"], now, 1e9)) is not None:
        times.append(now)
        if not box.again(letter, now):
            break
        (_, now), *_ = redis_client.zrange(f"{outbox.PREFIX}outbox:p", 0, 0, withscores=True)
    assert len(times) == MOST_ATTEMPTS
    assert times[:4] == [0, 10, 30, 70]
    assert 6 * 3600 < times[-1] < 12 * 3600
    assert outbox.waiting(redis_client, ["p"]) == 0
    assert outbox.counts(redis_client) == {("p", "failed", "failed"): 1}


def test_a_program_that_takes_too_long_is_ended_with_what_it_started(script, tmp_path):
    body = "os.system('sleep 600')"
    with pytest.raises(ServiceError, match="took longer than 1 s"):
        program.run([script(body)], {}, limit=1.0)


def test_a_program_that_cannot_be_run_or_fails_says_why(script):
    with pytest.raises(ServiceError, match="No such file"):
        program.run(["/no/such/program"], {})
    with pytest.raises(ServiceError, match="ended with 3: one two"):
        program.run([script("print('one\\ntwo', file=sys.stderr); sys.exit(3)")], {})


def test_what_a_program_leaves_running_keeps_nobody(script):
    program.run(
        [script("import subprocess; subprocess.Popen(['sleep', '5'])\nsys.exit(0)")], {}, limit=60
    )


def test_any_file_name_reaches_a_program(script, notes):
    name = os.fsdecode(b"/d/\xff\x01 \xc2\xb5\n.h5")
    program.run([script()], {"path": name})
    (note,) = notes()
    assert note["path"] == name
    assert note["environment"]["VH5D_PATH"] == name


def test_text_is_one_line_that_does_nothing_to_a_terminal():
    event = {"event": "failed", "path": "/d/\x1b[2J\n.h5", "error": "a\nb"}
    letter = Letter(id="1", policy="p", way="notify", kind="failed", event=event)
    assert notifications.text(letter).isprintable()
