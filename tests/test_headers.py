"""Header fields: a multimap without regard to case, and what may go on the wire."""

from enum import Enum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioreq._headers import Headers, checked_header, concealed, header_pairs, is_token, require_sendable
from aioreq._wire.http1 import encode_fields, encode_head
from aioreq.exceptions import InvalidHeader


class TestHeaders:
    def test_names_have_no_case(self):
        """A field is found by its name in any case, and shown as it was written."""
        headers = Headers({"Content-Type": "x/y"})
        assert headers["content-type"] == headers["CONTENT-TYPE"] == "x/y"
        assert "CONTENT-type" in headers
        assert list(headers) == ["Content-Type"]
        headers["CONTENT-TYPE"] = "a/b"
        assert headers.getall("Content-Type") == ["a/b"]
        del headers["content-TYPE"]
        assert not headers

    def test_a_field_of_several_values(self):
        """One value is itself, several are joined by comma and blank, and getall keeps them apart."""
        headers = Headers([("Vary", "A"), ("X", "1"), ("vary", "B")])
        assert headers["Vary"] == headers.get("VARY") == "A, B"
        assert headers.getall("Vary") == ["A", "B"]
        assert headers["X"] == headers.get("x") == "1"

    def test_a_field_that_is_not_there(self):
        """`get` has a default, an index is a KeyError."""
        headers = Headers()
        assert headers.get("X") is None
        assert headers.get("X", "default") == "default"
        with pytest.raises(KeyError):
            headers["X"]

    def test_repr_hides_secrets(self):
        """Credentials and cookies are masked in the repr."""
        headers = Headers([("Authorization", "hidden"), ("set-cookie", "hidden"), ("X", "seen")])
        assert repr(headers) == "Headers([('Authorization', '[secret]'), ('set-cookie', '[secret]'), ('X', 'seen')])"

    @pytest.mark.parametrize("name", ["Authorization", "PROXY-AUTHORIZATION", "cookie", "Set-Cookie"])
    def test_what_is_secret(self, name: str):
        """Four fields are kept out of logs, in any case."""
        assert concealed([(name, "hidden")]) == [(name, "[secret]")]


class TestPairs:
    def test_mappings_and_pairs(self):
        """headers= is a mapping, pairs, an iterator of pairs, or nothing."""
        assert list(header_pairs(None)) == []
        assert list(header_pairs({"a": "1"})) == [("a", "1")]
        assert list(header_pairs([("a", "1"), ["a", "2"]])) == [("a", "1"), ["a", "2"]]
        assert list(header_pairs(iter([("a", "1")]))) == [("a", "1")]
        assert list(header_pairs(Headers([("a", "1"), ("a", "2")]))) == [("a", "1"), ("a", "2")]

    @pytest.mark.parametrize("headers", ["a: b", b"a: b", 7, object()])
    def test_what_is_neither(self, headers: Any):
        """A string or anything else is refused."""
        with pytest.raises(InvalidHeader, match="headers are a mapping or pairs, not"):
            header_pairs(headers)

    @pytest.mark.parametrize("pair", ["ab", ("a",), ("a", "b", "c"), 7])
    def test_what_is_no_pair(self, pair: Any):
        """A wrong item among the pairs is shown."""
        with pytest.raises(InvalidHeader, match=r"among the headers is not a pair \(name, value\)"):
            header_pairs([("x", "y"), pair])


class TestWhatMayBeSent:
    @pytest.mark.parametrize(
        ("name", "value", "sent"),
        [
            ("X", "text", "text"),
            ("X", "", ""),
            ("X", " \t around \t", "around"),
            ("X", "in\tside", "in\tside"),
            ("X", "café", "café"),
            ("X", b"caf\xe9", "café"),
            (b"X", b"bytes", "bytes"),
            ("X", 7, "7"),
            ("X", 1.5, "1.5"),
            ("X", *Enum("Word", {"ONE": "text"}, type=str), "text"),
            ("X", "a\x7fb\x85", "a\x7fb\x85"),
        ],
    )
    @pytest.mark.parametrize("usual", [False, True])
    def test_values(self, name: Any, value: Any, sent: str, usual: bool):
        """Text and bytes in latin-1, and numbers; white space around is left out, whatever the name."""
        if usual:
            name = b"Accept" if isinstance(name, bytes) else "Accept"
        checked = checked_header(name, value)
        assert checked == ("Accept" if usual else "X", sent)
        assert encode_head("GET", "/", encode_fields(Headers([checked]))).endswith(
            f": {sent}\r\n\r\n".encode("latin-1")
        )

    @pytest.mark.parametrize(
        "name", ["", " ", "a b", "a:", "a\r\n", "é", "a\0", "(a)", b"\xff", None, 7, "a\n", ["X"], bytearray(b"Host")]
    )
    def test_names_are_tokens(self, name: Any):
        """A name is a token (RFC 9110, section 5.6.2)."""
        with pytest.raises(InvalidHeader, match="can't be the name of a header"):
            checked_header(name, "x")

    @pytest.mark.parametrize("value", ["a\r\nb", "a\nb", "a\rb", "a\0b", "a\r\n", b"a\r\nX: y"])
    def test_nothing_is_injected(self, value: Any):
        """CR, LF and NUL would end a value, and are refused wherever they stand."""
        for name in ("X", "Accept"):
            with pytest.raises(InvalidHeader, match=f"the header {name} holds CR, LF or NUL, which would end it"):
                checked_header(name, value)

    @pytest.mark.parametrize("value", [None, True, object(), ["a"], {"a": "b"}])
    def test_other_values(self, value: Any):
        """Anything else is no value."""
        with pytest.raises(InvalidHeader, match="the header X is .*; pass text or bytes"):
            checked_header("X", value)

    def test_text_beyond_latin_1(self):
        """Such text has no form in a header; the message says how to encode it."""
        with pytest.raises(InvalidHeader, match=r"outside of latin-1: encode them \(percent-encoding, RFC 8187\)"):
            checked_header("X", "日本")

    def test_what_was_put_on_later_is_checked(self):
        """What an auth object or a hook put among the headers is held to the same."""
        require_sendable(Headers({"X": "fine"}))
        with pytest.raises(InvalidHeader):
            require_sendable(Headers({"X": "a\r\nb"}))
        with pytest.raises(InvalidHeader):
            require_sendable(Headers({"X Y": "a"}))

    @pytest.mark.parametrize(
        "field",
        [
            ("X", "a\r\nb"), ("Accept", "a\nb"), ("Accept", "a\0"), ("", "a"), ("X\r\n", "a"), ("X:", "a"),
            ("Accept", "日本"), ("Accept", b"a\n"), ("Accept", None), ("X", object()), ("X", True),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("place", [0, 1])
    def test_one_among_others(self, field: Any, place: int):
        """One bad field is found wherever it stands among good ones."""
        fields: list[Any] = [("Host", "example.org"), ("X-Own", "1")]
        fields.insert(place, field)
        with pytest.raises(InvalidHeader):
            require_sendable(Headers(fields))

    @pytest.mark.parametrize(("value", "sent"), [(b"caf\xe9", "café"), (7, "7"), (1.5, "1.5")])
    def test_what_was_put_on_later_becomes_text(self, value: Any, sent: str):
        """Bytes and numbers that a hook or an auth object puts on go out as those that a caller passes."""
        headers = Headers([("Host", "example.org"), ("X", value), ("X", "other")])
        require_sendable(headers)
        assert list(headers.items()) == [("Host", "example.org"), ("X", sent), ("X", "other")]

    @pytest.mark.parametrize("value", ["café", "a\tb", "a\x7f", ""])
    def test_unusual_ones_may_pass(self, value: str):
        """What only needs a closer look is sent as it is."""
        require_sendable(Headers([("Host", "example.org"), ("X-Own", value)]))

    @pytest.mark.parametrize("text", ["GET", "X-Y", "!#$%&'*+-.^_`|~0"])
    def test_tokens(self, text: str):
        """Letters, digits and fifteen signs make a token."""
        assert is_token(text)
        for sign in '(),/:;<=>?@[\\]{}" \t\r\n\0é':
            assert not is_token(text + sign)
        assert not is_token("")


@settings(max_examples=200, derandomize=True, database=None, deadline=None)
@given(name=st.text(max_size=6), value=st.one_of(st.text(max_size=12), st.binary(max_size=12)))
def test_any_field_is_one_line_or_an_error(name: str, value: str | bytes):
    """Whatever is passed, it is InvalidHeader, or exactly one line on the wire."""
    try:
        checked = checked_header(name, value)
    except InvalidHeader:
        return
    head = encode_head("GET", "/", encode_fields(Headers([checked])))
    start, line, *rest = head.split(b"\r\n")
    assert (start, rest) == (b"GET / HTTP/1.1", [b"", b""])
    assert line.startswith(name.encode() + b": ")
    assert b"\n" not in line
