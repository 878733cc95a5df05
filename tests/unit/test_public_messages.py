"""Bybit frames decode whole, and nothing else gets through."""

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.bybit import public_messages as bybit
from domain.errors import BadData
from domain.kline_frames import Ack, Klines, Other
from market.streams import split_topics

DATA = Path(__file__).parents[3] / "shared" / "data" / "ws_bybit"

PAIR = (
    b'{"topic":"kline.3.BTCUSDT","type":"snapshot","data":['
    b'{"start":180000,"end":359999,"interval":"3","open":"10","close":"11","high":"12","low":"9","volume":"5",'
    b'"turnover":"50","confirm":true,"timestamp":359990},'
    b'{"start":360000,"end":539999,"interval":"3","open":"11","close":"11","high":"11","low":"11","volume":"0",'
    b'"turnover":"0","confirm":false,"timestamp":360001}],"ts":360002}'
)


def test_a_frame_at_a_bars_end_carries_the_closed_bar_and_the_next():
    message = bybit.decode(PAIR)
    assert message.topic == bybit.kline_topic("BTCUSDT", "3m")
    assert [(item.start, item.confirm) for item in message.items] == [(180_000, True), (360_000, False)]
    assert message.items[0].bar() == (180_000, 10.0, 12.0, 9.0, 11.0, 5.0, 50.0)


def test_the_order_of_keys_does_not_matter():
    body = json.loads(PAIR)
    turned = json.dumps({"ts": body["ts"], "data": body["data"], "topic": body["topic"]}).encode()
    assert bybit.decode(turned) == bybit.decode(PAIR)


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (
            b'{"success":true,"ret_msg":"","conn_id":"x","req_id":"sub-1","op":"subscribe"}',
            Ack("subscribe", True, "", "sub-1"),
        ),
        (
            b'{"success":true,"ret_msg":"pong","conn_id":"x","req_id":"p1","op":"ping"}',
            Ack("ping", True, "pong", "p1"),
        ),
        (b'{"req_id":"9","op":"pong","args":["1675418560633"],"conn_id":"x"}', Ack("pong", True, "", "9")),
        (
            b'{"success":false,"ret_msg":"error:handler not found,topic:kline.3.NOPE","conn_id":"x","req_id":"","op":"subscribe"}',
            Ack("subscribe", False, "error:handler not found,topic:kline.3.NOPE", ""),
        ),
        (
            b'{"topic":"tickers.BTCUSDT","type":"delta","data":{"symbol":"BTCUSDT"},"cs":1,"ts":2}',
            Other("tickers.BTCUSDT"),
        ),
    ],
)
def test_answers_and_other_topics_are_told_apart(frame, expected):
    assert bybit.decode(frame) == expected


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"pong",
        b"[]",
        b'{"topic":"kline.3.X","data":[{}]}',
        PAIR[:-40],
        PAIR.replace(b'"12"', b'"twelve"'),
    ],
)
def test_malformed_frames_are_bad_data(frame):
    with pytest.raises(BadData, match="frame"):
        bybit.decode(frame)


@given(st.binary(max_size=200) | st.integers(0, len(PAIR) - 1).map(lambda i: PAIR[:i] + b"\xff" + PAIR[i + 1 :]))
def test_no_bytes_raise_anything_else(frame):
    try:
        message = bybit.decode(frame)
    except BadData as error:
        assert "frame" in str(error)
    else:
        assert isinstance(message, Klines | Ack | Other)


@given(st.integers(0, len(PAIR) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_what_is_looked_at_in_every_frame_is_what_a_whole_frame_says(at, put, cut):
    frame = PAIR[:at] + put + PAIR[at + cut :]
    try:
        whole = bybit.decode(frame)
    except BadData:
        return
    if isinstance(whole, Klines):
        looked = bybit.pushes(frame)
        told = [(item.start, item.close, item.confirm, item.timestamp) for item in whole.items]
        seen = [(item.start, item.close, item.confirm, item.timestamp) for item in looked.items]
        assert looked.topic == whole.topic
        assert repr(seen) == repr(told)


def test_topics_are_split_by_count_and_by_characters():
    topics = [f"kline.3.COIN{i}USDT" for i in range(100)]
    groups = split_topics(topics, count_max=40, chars_max=500)
    assert [topic for group in groups for topic in group] == topics
    assert all(len(group) <= 40 and sum(map(len, group)) <= 500 for group in groups)


@pytest.mark.skipif(not DATA.exists(), reason="captured exchange frames are not beside the checkout")
def test_captured_frames_decode_whole():
    lines = gzip.open(DATA / "bybit_v5_linear_2026-08-09.jsonl.gz").read().splitlines()
    frames = [json.loads(line) for line in lines]
    received = [frame["data"] for frame in frames if frame["t"] == "recv"]
    messages = [bybit.decode(text.encode()) for text in received]
    klines = [message for message in messages if isinstance(message, Klines)]
    spot_and_linear = sum('"topic":"kline.' in text for text in received)
    assert len(messages) == len(received) > 2_000
    assert len(klines) == spot_and_linear > 50
    assert any([item.confirm for item in message.items] == [True, False] for message in klines)
