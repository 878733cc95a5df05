"""What Bybit's return codes mean, row by row."""

from __future__ import annotations

import pytest
from ccxt.base.errors import ExchangeError

from broker.bybit.errors import (
    CURES,
    DONE_AT,
    REFUSED,
    UNKNOWN,
    WAIT,
    ClockOff,
    Done,
    KeyRefused,
    Meaning,
    NotAccepted,
    TooFast,
    failure,
    meaning,
)
from broker.bybit.rest import _translated
from domain.errors import Rejected, Unavailable

CREATE, CANCEL = "v5/order/create", "v5/order/cancel"
LEVERAGE, STOP = "v5/position/set-leverage", "v5/position/trading-stop"

# Every code of the documentation's tables "UTA", "Spot Trade" and "WS OE" that an order, position, account or market
# request for a linear contract may be answered with; written out, so that a code that falls out of our table is noticed.
# Not among them: codes of other products (repayment, collateral switch, options, margin mode, account upgrade).
DOCUMENTED = """
-1 -2015 429 10000 10001 10002 10003 10004 10005 10006 10007 10008 10009 10010 10014 10016 10017 10018 10019 10024 10027
10028 10029 10404 10429 20003 20006 30035 30133 30134 30135 30136 30208 30209 30228 30256 33004 34040 40004 100028
110001 110003 110004 110005 110006 110007 110008 110009 110010 110011 110012 110013 110014 110015 110016 110017 110018
110019 110020 110021 110022 110023 110024 110025 110026 110027 110028 110029 110030 110031 110032 110033 110034 110035
110036 110037 110038 110039 110040 110041 110042 110043 110044 110045 110046 110047 110048 110049 110050 110051 110052
110053 110054 110055 110056 110057 110058 110059 110060 110061 110062 110063 110064 110065 110066 110067 110068 110069
110070 110071 110072 110073 110074 110075 110076 110077 110078 110079 110080 110082 110083 110085 110086 110087 110088
110089 110090 110092 110093 110094 110095 110096 110097 110098 110099 110100 110101 110102 110103 110104 110105 110106
110107 110108 110109 110110 110111 110112 110113 110114 110115 110116 110117 110118 110119 110120 110121 110123 110124
110125 110131 110132 110135 110136 110137 170001 170005 170007 170010 170011 170019 170031 170032 170033 170034 170035
170036 170037 170105 170115 170116 170117 170121 170124 170130 170131 170132 170133 170134 170136 170137 170139 170140
170141 170142 170143 170144 170145 170146 170147 170148 170149 170150 170151 170157 170159 170190 170191 170192 170193
170194 170195 170196 170197 170198 170199 170200 170201 170202 170203 170204 170206 170207 170209 170210 170212 170213
170215 170216 170217 170218 170219 170220 170221 170222 170223 170224 170226 170227 170228 170229 170230 170234 170241
170310 170311 170312 170313 170341 170344 170346 170348 170355 170358 170359 170360 170371 170372 170381 170382 170709
170810 181017 3100181 3100197 3100326 3200320 3200403 3400139 3400214 500010 500011
"""

KEY = {-2015, 10003, 10004, 10005, 10007, 10008, 10009, 10010, 10024, 10027, 10028, 33004, 100028, 110018, 110067, 110069,
       110080, 110088, 110124, 170348, 3100197, 3200320, 500010, 500011}  # fmt: skip
LATER = {-1, 429, 10002, 10006, 10018, 10429, 20003, 30035, 110063, 110114, 170005, 170191, 170222}
OPEN = {10000, 10014, 10016, 10019, 20006, 40004, 110072, 110079, 170001, 170007, 170032, 170035, 170141, 170146, 170147,
        170212, 170234, 170310, 3400214}  # fmt: skip
"""What was written down by hand; everything else that is documented is a refusal for good."""


def body(code: int) -> ExchangeError:
    return ExchangeError(f'bybit {{"retCode":{code},"retMsg":"as they say it","result":{{}},"time":1}}')


@pytest.mark.parametrize("code", [int(code) for code in DOCUMENTED.split()])
def test_every_documented_code_means_what_it_says(code):
    found = _translated(body(code), CREATE)
    if code in KEY:
        assert isinstance(found, KeyRefused)
        assert CURES[code] in str(found)
    elif code in LATER:
        assert isinstance(found, NotAccepted)
        assert isinstance(found, TooFast) == (code == 10006)
        assert isinstance(found, ClockOff) == (code in {-1, 10002})
    elif code in OPEN:
        assert type(found) is Unavailable  # an order that may be there is looked up
    else:
        assert type(found) is Rejected
        assert found.code == code
    assert f"retCode {code}" in str(found)
    assert "as they say it" in str(found)


def test_no_code_has_two_meanings():
    groups = [set(CURES), WAIT, UNKNOWN, REFUSED]
    assert sum(map(len, groups)) == len(set().union(*groups))


@pytest.mark.parametrize(
    ("path", "codes"),
    [
        (CANCEL, [110001, 110008, 110010, 170139, 170142, 170143, 170190, 170213]),
        (LEVERAGE, [110043]),
        (STOP, [34040]),
    ],
)
def test_what_holds_already_is_success_there_and_a_refusal_elsewhere(path, codes):
    assert sorted(DONE_AT[path]) == codes
    for code in codes:
        assert isinstance(failure(code, "", path), Done)
        assert type(failure(code, "", CREATE)) is Rejected


def test_a_code_that_nobody_knows_leaves_an_order_open_and_refuses_the_rest():
    assert meaning(987_654, CREATE) is None
    assert type(failure(987_654, "", CREATE)) is Unavailable
    for path in (CANCEL, LEVERAGE, STOP, "v5/position/list"):
        refused = failure(987_654, "", path)
        assert (type(refused), refused.code) == (Rejected, 987_654)
    assert meaning(10001, CREATE) is Meaning.REFUSED


def test_answers_without_a_code_prove_nothing():
    assert type(_translated(ExchangeError("bybit 502 Bad Gateway <html>"), CREATE)) is Unavailable
    assert type(_translated(ExchangeError('{"retCode": "many"}'), CREATE)) is Unavailable
