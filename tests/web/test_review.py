"""A blind review: nothing on the page tells which picture is whose, and every vote is kept."""

import re
import shutil
import socket
import threading
from collections import Counter
from dataclasses import replace

import pytest

from lora_ci.core.errors import IntegrityError
from lora_ci.core.votes import Choice, Side, side_of
from lora_ci.web.desk import MOST_PAIRS, Desk, Session
from lora_ci.web.review import MOST_BYTES, Review, create_review, is_known_host, open_review_server
from lora_ci.web.review_page import Question
from tests.keyboard import chromium
from tests.reviewed import Reviewed, blind_step, judged_step, new_reviewed

TOKEN = "secret-token"
SESSION = Session(fingerprint="f" * 64, lora="mei", voter="Ann", seed=11)
TELLING = re.compile(r"adapter|released|base|new\b|old\b|strength|weight|[0-9a-f]{12}", re.I)


@pytest.fixture
def world(tmp_path):
    world = new_reviewed(tmp_path)
    yield world
    world.ledger.close()


def open_desk(world: Reviewed, **changes: object) -> Desk:
    return Desk(replace(SESSION, **changes), blind_step().pairs, world.ledger)


class Browser:
    """What a person does, without a browser."""

    def __init__(self, world: Reviewed, desk: Desk | None = None) -> None:
        world.record(judged_step())
        blind = blind_step()
        self.desk = desk or open_desk(world)
        self.review = Review(
            desk=self.desk,
            store=world.store,
            question=Question(trigger="mochi", references=2, small=True),
            references=blind.references[:2],
            against=blind.pairs[0].against,
            token=TOKEN,
            host="127.0.0.1",
        )
        self.client = create_review(self.review).test_client()

    def get(self, path: str = "", **headers: str):
        return self.client.get(f"/{TOKEN}/{path}", headers={"Host": "127.0.0.1:9", **headers})

    def post(self, path: str, data: dict | None = None, **headers: str):
        sent = {"Host": "127.0.0.1:9", **headers}
        return self.client.post(f"/{TOKEN}/{path}", data=data or {}, headers=sent)

    def page(self) -> str:
        return self.get().get_data(as_text=True)

    def number(self) -> str:
        return re.search(r'name="card" value="(\d+)"', self.page())[1]

    def choose(self, choice: str):
        return self.post("vote", {"card": self.number(), "choice": choice})


@pytest.fixture
def browser(world):
    return Browser(world)


def test_a_person_goes_through_all_pairs_and_is_told_the_result_at_the_end(world, browser):
    for i, choice in enumerate(["left", "right", "none"] * 2):
        assert f"{i} of 6" in browser.page()
        done = browser.choose(choice)
        assert (done.status_code, done.headers["Location"]) == (303, "./")
        assert len(world.ledger.votes(SESSION.fingerprint)) == i + 1
    assert "all 6 pairs" in browser.page()
    assert not re.search("adapter|released", browser.page())
    browser.post("close")
    said = Counter(vote.choice for vote in world.ledger.votes())
    table = dict(re.findall(r"<dt>(\d+)</dt><dd>([^<]*)", browser.page()))
    page = browser.page()
    assert f"<dt>{said[Choice.NEW]}</dt><dd>the new adapter" in page, table
    assert f"<dt>{said[Choice.OTHER]}</dt><dd>the released adapter" in page
    assert f"<dt>{said[Choice.NONE]}</dt><dd>no difference" in page


def test_votes_say_which_picture_was_chosen_and_where_it_stood(world, browser):
    chosen = {}
    while (card := browser.desk.state().card) is not None:
        # This person always likes the new one.
        chosen[card.pair.id] = card.new_on
        assert browser.choose(card.new_on).status_code == 303
    votes = world.ledger.votes(SESSION.fingerprint)
    assert len(votes) == 6
    for vote in votes:
        assert (vote.choice, vote.voter, vote.lora) == (Choice.NEW, "Ann", "mei")
        assert vote.side is chosen[vote.pair] is side_of(vote.seed, vote.pair)
    assert {vote.side for vote in votes} == set(Side)


def test_the_picture_on_a_side_is_the_one_that_counts(world, browser):
    card = browser.desk.state().card
    for side in Side:
        shown = browser.get(f"picture/{card.number}/{side}")
        assert shown.mimetype == "image/png"
        assert shown.data == world.store.get(card.picture(side)).read_bytes()
    assert card.picture(card.new_on) == card.pair.new
    assert card.picture(card.new_on.opposite) == card.pair.other


def test_nothing_tells_which_picture_is_whose(browser):
    """Pages of cards with the new one left and right are the same but for number and prompt."""
    pages = {}
    while (card := browser.desk.state().card) is not None:
        page = browser.page()
        body = page.split("</style>")[1].split("<script>")[0]
        assert not TELLING.search(body), TELLING.search(body)
        plain = re.sub(r"Asked for: .*?</p>", "", body)
        plain = re.sub(r'value="\d+"|picture/\d+/|\d of 6| disabled', "", plain)
        pages.setdefault(card.new_on, set()).add(plain)
        heads = [dict(browser.get(f"picture/{card.number}/{side}").headers) for side in Side]
        for head in heads:
            del head["Content-Length"]
        assert heads[0] == heads[1]
        assert not TELLING.search(" ".join(f"{k} {v}" for k, v in heads[0].items()
                                           if "Policy" not in k))  # fmt: skip
        browser.choose("none")
    assert pages[Side.LEFT] == pages[Side.RIGHT]
    assert len(pages[Side.LEFT]) == 1


def test_foreign_text_is_escaped(browser):
    pages = []
    while browser.desk.state().card is not None:
        pages.append(browser.page())
        browser.choose("left")
    text = "".join(pages)
    assert "mochi &lt;b&gt;&amp;�" in text
    assert "<b>" not in text


def test_undo_and_skip(world, browser):
    first = browser.number()
    assert 'data-key="u" disabled' in browser.page()
    browser.choose("left")
    second = browser.number()
    browser.post("skip", {"card": second})
    third = browser.number()
    assert len({first, second, third}) == 3
    browser.post("undo")
    assert browser.number() == second
    browser.post("undo")
    assert browser.number() == first
    assert world.ledger.votes() == ()
    assert browser.post("undo").status_code == 303
    assert browser.number() == first


def test_what_was_skipped_comes_again(world, browser):
    for _ in range(6):
        browser.post("skip", {"card": browser.number()})
    assert "You skipped 6 pairs." in browser.page()
    assert browser.desk.state().voted == 0
    browser.post("again")
    browser.choose("left")
    assert (browser.desk.state().voted, browser.desk.state().skipped) == (1, 0)


def test_the_last_answer_can_be_undone_until_the_result_is_seen(world, browser):
    for _ in range(6):
        browser.choose("left")
    browser.post("undo")
    assert len(world.ledger.votes()) == 5
    browser.choose("right")
    browser.post("close")
    before = world.ledger.votes()
    assert browser.post("vote", {"card": "0", "choice": "left"}).status_code == 409
    assert browser.post("skip", {"card": "0"}).status_code == 409
    browser.post("undo")
    assert world.ledger.votes() == before


def test_the_result_is_not_shown_before_the_end(browser):
    browser.choose("left")
    browser.post("close")
    assert "Which picture" in browser.page()


def test_a_vote_that_is_sent_twice_counts_once(world, browser):
    number = browser.number()
    for choice in ("left", "left", "right"):
        assert browser.post("vote", {"card": number, "choice": choice}).status_code == 303
    (kept,) = world.ledger.votes()
    assert kept.choice is (Choice.NEW if kept.side is Side.RIGHT else Choice.OTHER)
    browser.post("undo")
    assert world.ledger.votes() == ()


def test_another_session_goes_on_where_this_one_was_left(world, browser):
    for choice in ("left", "none"):
        browser.choose(choice)
    browser.post("skip", {"card": browser.number()})
    later = open_desk(world, seed=5)
    state = later.state()
    assert (state.voted, state.skipped, state.total, state.may_undo) == (2, 0, 6, False)
    asked = set()
    while (card := later.state().card) is not None:
        asked.add(card.pair.id)
        later.vote(card.number, None)
    assert len(asked) == 4
    assert len(world.ledger.votes()) == 6
    # All is answered: a third session shows the result, and takes nothing.
    assert open_desk(world, seed=6).state().closed
    # Another person is asked anew, and another judgement is.
    assert open_desk(world, voter="Bob").state().voted == 0
    assert open_desk(world, fingerprint="e" * 64).state().voted == 0


def test_order_and_sides_differ_between_sessions(world):
    def seen(seed: int) -> list[tuple[str, Side]]:
        desk = Desk(replace(SESSION, seed=seed), blind_step(seeds=8).pairs, world.ledger)
        return [(desk.card(i).pair.id, desk.card(i).new_on) for i in range(24)]

    assert seen(1) == seen(1)
    assert [pair for pair, _ in seen(1)] != [pair for pair, _ in seen(2)]
    assert dict(seen(1)) != dict(seen(2))


def test_no_more_than_so_many_pairs_are_asked(world):
    pairs = blind_step(prompts=[f"mochi {i}" for i in range(60)], seeds=4).pairs
    assert len(pairs) == 240
    assert Desk(SESSION, pairs, world.ledger).state().total == MOST_PAIRS


@pytest.mark.parametrize(
    ("path", "data", "status"),
    [
        ("vote", {"card": "0"}, 400),
        ("vote", {"card": "0", "choice": "new"}, 400),
        ("vote", {"card": "6", "choice": "left"}, 409),
        ("vote", {"card": "-1", "choice": "left"}, 409),
        ("vote", {"card": "²", "choice": "left"}, 409),
        ("vote", {"card": "9" * 30, "choice": "left"}, 409),
        ("vote", {"choice": "left"}, 409),
        ("skip", {"card": "x"}, 409),
        ("vote", {"card": "0", "choice": "left", "more": "x" * MOST_BYTES}, 413),
    ],
)
def test_what_is_no_answer_is_refused(world, browser, path, data, status):
    assert browser.post(path, data).status_code == status
    assert world.ledger.votes() == ()


@pytest.mark.parametrize(
    ("host", "known"),
    [
        ("127.0.0.1:8080", True), ("localhost:8080", True), ("localhost", True),
        ("[::1]:8080", True), ("192.168.1.5:80", True), ("gpu-box:8080", True),
        ("GPU-Box:8080", True),
        ("evil.example:8080", False), ("127.0.0.1.evil.example", False), ("", False),
        ("localhost.evil.example", False), ("evil.example@127.0.0.1.x", False),
        ("[::1", False), ("a b", False),
    ],
)  # fmt: skip
def test_host_names_that_a_foreign_name_server_may_have_led_here(host, known):
    assert is_known_host(host, "gpu-box") is known


def test_strangers_find_nothing(world, browser):
    assert browser.get(Host="evil.example:9").status_code == 421
    good = {"Host": "127.0.0.1:9"}
    for path in ("/", "/x/", "/favicon.ico", f"/{TOKEN}x/", f"/{TOKEN[:-1]}/", "/x/picture/0/left"):
        assert browser.client.get(path, headers=good).status_code == 404
    answer = {"card": "0", "choice": "left"}
    assert browser.client.post("/x/vote", data=answer, headers=good).status_code == 404
    assert browser.client.get(f"/{TOKEN}/vote", headers=good).status_code == 404
    for headers in (
        {"Origin": "http://evil.example"}, {"Origin": "null"},
        {"Origin": "http://127.0.0.1:10"}, {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "none"},
    ):  # fmt: skip
        assert browser.post("vote", answer, **headers).status_code == 403
    assert world.ledger.votes() == ()
    ours = {"Origin": "http://127.0.0.1:9", "Sec-Fetch-Site": "same-origin"}
    assert browser.post("vote", answer, **ours).status_code == 303


@pytest.mark.parametrize(
    "path", ["picture/6/left", "picture/0/up", "picture/0/", "reference/2", "picture/-1/left"]
)
def test_only_the_pictures_of_the_review_are_served(browser, path):
    assert browser.get(path).status_code == 404


def test_pages_load_nothing_from_elsewhere_and_are_kept_nowhere(browser):
    response = browser.get()
    policy = response.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; img-src 'self'")
    assert "unsafe" not in policy
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["Referrer-Policy"] == "same-origin"
    page = response.get_data(as_text=True)
    assert not re.search(r"(src|href)=\"(?!picture/|reference/|data:,)", page)
    assert "http" not in page
    assert browser.get("reference/1").mimetype == "image/png"


def test_a_picture_that_went_away_is_told(world, browser):
    card = browser.desk.state().card
    path = world.store.get(card.picture(Side.LEFT))
    path.unlink()
    gone = browser.get(f"picture/{card.number}/left")
    assert gone.status_code == 503
    with pytest.raises(IntegrityError):
        world.store.get(card.picture(Side.LEFT))


def test_votes_of_many_tabs_at_once(world):
    desk = open_desk(world)
    threads = [
        threading.Thread(target=lambda n=n: desk.vote(n % 6, Side.LEFT)) for n in range(24)
    ]  # fmt: skip
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(world.ledger.votes()) == desk.state().voted == 6


def test_a_real_server_on_a_free_port(browser):
    server, port = open_review_server(create_review(browser.review), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as link:
            link.sendall(f"GET /{TOKEN}/ HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            answer = b""
            while piece := link.recv(1 << 16):
                answer += piece
        assert answer.startswith(b"HTTP/1.0 200 OK")
        assert b"Which picture shows" in answer
        assert b"waitress" not in answer
    finally:
        server.close()
        thread.join(10)


@pytest.mark.needs_chromium
@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_keys_are_answers_in_a_browser(world, browser, tmp_path):
    server, port = open_review_server(create_review(browser.review), "127.0.0.1", 0)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        with chromium(tmp_path / "profile") as keyboard:
            keyboard.open(f"http://127.0.0.1:{port}/{TOKEN}/")
            first = browser.desk.state().card
            # What is held down, or means something else to the browser, is no answer.
            keyboard.press("1", autoRepeat=True)
            keyboard.press("1", modifiers=2)
            keyboard.press("7")
            assert world.ledger.votes() == ()
            keyboard.press("2")
            keyboard.wait_for_page()
            (vote,) = world.ledger.votes()
            assert vote.choice is (Choice.NEW if first.new_on is Side.RIGHT else Choice.OTHER)
            assert "1 of 6" in keyboard.text()
            keyboard.press("u")
            keyboard.wait_for_page()
            assert world.ledger.votes() == ()
            keyboard.press("s")
            keyboard.wait_for_page()
            assert browser.desk.state().skipped == 1
    finally:
        server.close()
        thread.join(10)
