"""Where addresses lie, and what is an address of the web: tables."""

from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st
from urllib3.util import parse_url

from registry.remotes.addresses import Scope, carried, literal_address, scope_of, scope_of_host
from registry.remotes.urls import BadUrl, Url, join, parse

SCOPES = {
    Scope.PUBLIC: [
        "1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255",
        "128.0.0.0", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "192.167.255.255", "192.169.0.0",
        "198.17.255.255", "198.20.0.0", "223.255.255.255", "2606:4700::1111", "2001:4860:4860::8888",
        "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
    ],
    Scope.PRIVATE: [
        "10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255", "100.64.0.0",
        "100.127.255.255", "198.18.0.1", "198.19.255.255", "fc00::1", "fdff::1", "fec0::1", "::ffff:10.0.0.1", "::ffff:c0a8:1",
        "2002:0a00:0001::1", "2002:c0a8:0101::", "64:ff9b::10.1.2.3", "64:ff9b:1::192.168.0.1", "::10.0.0.1",
        "2001:0:1:2:3:4:f5ff:fffe",  # Teredo: the complement of 10.0.0.1
        "2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:192.168.1.1", "::ffff:0:10.0.0.1",
    ],
    Scope.LOOPBACK: [
        "127.0.0.1", "127.255.255.255", "127.1.2.3", "0.0.0.0", "0.1.2.3", "::1", "::", "::ffff:127.0.0.1", "::ffff:7f00:1",
        "::ffff:0.0.0.0", "2002:7f00:1::", "64:ff9b::7f00:1", "::127.0.0.1", "2001:0:0:0:0:0:80ff:fffe",
    ],
    Scope.LINK_LOCAL: [
        "169.254.0.0", "169.254.169.254", "169.254.255.255", "fe80::1", "febf::1", "::ffff:169.254.169.254",
        "2002:a9fe:a9fe::", "64:ff9b::a9fe:a9fe", "fd00:ec2::254",
    ],
    Scope.RESERVED: [
        "192.0.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.255", "224.0.0.1", "239.255.255.255", "240.0.0.1",
        "255.255.255.255", "ff02::1", "2001:db8::1", "100::1", "4000::1", "::ffff:224.0.0.1",
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "text"), [(scope, text) for scope, texts in SCOPES.items() for text in texts]
)
def test_where_an_address_lies(scope: Scope, text: str) -> None:
    assert scope_of(ip_address(text)) is scope


def test_scopes_are_ordered_from_outside_to_inside() -> None:
    order = [Scope.PUBLIC, Scope.PRIVATE, Scope.LOOPBACK, Scope.LINK_LOCAL, Scope.RESERVED]
    assert sorted(Scope) == order
    assert all(scope.shown for scope in Scope)


@given(st.integers(0, 2**32 - 1))
def test_an_address_carried_by_another_lies_where_it_lies_itself(number: int) -> None:
    inner = IPv4Address(number)
    for outer in [
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(0x0064FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
        IPv6Address(0x20010000 << 96 | (~number & 0xFFFFFFFF)),
    ]:
        assert carried(outer) == inner
        assert scope_of(outer) is scope_of(inner)


LITERALS = {
    "127.0.0.1": [
        "127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0X7F.1", "017700000001", "0177.0.0.01",
        "0x7f.0x0.0x0.0x1", "127.0.0.1.",
    ],
    "169.254.169.254": ["169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.16689662"],
    "0.0.0.0": ["0", "0.0", "0x", "00000"],
    "::1": ["::1", "[::1]", "0:0:0:0:0:0:0:1", "[::1%25lo]"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("address", "text"), [(key, text) for key, texts in LITERALS.items() for text in texts]
)
def test_all_ways_to_write_an_address(address: str, text: str) -> None:
    assert literal_address(text) == ip_address(address)


@pytest.mark.parametrize(
    "name",
    ["", ".", "a", "a.b", "1.2.3.4.5", "256.1.1.1", "1.2.3.256", "1.2.65536", "4294967296", "0x100000000", "08", "1..2",
     "127.0.0.1.nip.io", "0xg", "-1", "١٢٧.0.0.1", "9" * 5000, "[::1", "::g", "1:2"],
)  # fmt: skip
def test_names_and_wrong_numbers_are_no_addresses(name: str) -> None:
    if name != "[::1":  # brackets are taken off one by one
        assert literal_address(name) is None


@pytest.mark.parametrize(
    ("host", "scope"),
    [
        ("registry.ollama.ai", Scope.PUBLIC), ("huggingface.co.", Scope.PUBLIC), ("LOCALHOST", Scope.LOOPBACK),
        ("x.localhost.", Scope.LOOPBACK), ("localhost.localdomain", Scope.LOOPBACK), ("intranet", Scope.PRIVATE),
        ("nas.local", Scope.PRIVATE), ("git.corp", Scope.PRIVATE), ("router.home.arpa", Scope.PRIVATE),
        ("vault.service.internal", Scope.PRIVATE), ("metadata.google.internal", Scope.LINK_LOCAL),
        ("2130706433", Scope.LOOPBACK), ("0xa9fea9fe", Scope.LINK_LOCAL), ("10.1", Scope.PRIVATE), ("8.8.8.8", Scope.PUBLIC),
        ("notlocalhost.com", Scope.PUBLIC), ("local.example.com", Scope.PUBLIC),
    ],
)  # fmt: skip
def test_what_a_name_alone_tells(host: str, scope: Scope) -> None:
    assert scope_of_host(host) is scope


@given(st.text(max_size=30))
def test_any_text_has_a_scope(text: str) -> None:
    assert scope_of_host(text) in Scope


GOOD_URLS = [
    ("http://example.com", Url("http", "example.com", 80, "/")),
    ("HTTPS://Example.COM:443/A?b=c", Url("https", "example.com", 443, "/A?b=c")),
    ("http://localhost:5000/v2/", Url("http", "localhost", 5000, "/v2/")),
    ("https://[::0:1]:8443/x", Url("https", "::1", 8443, "/x")),
    ("https://10.0.0.1?x", Url("https", "10.0.0.1", 443, "/?x")),
    ("https://a_b.example.com/x#part", Url("https", "a_b.example.com", 443, "/x")),
    ("https://xn--bcher-kva.example/", Url("https", "xn--bcher-kva.example", 443, "/")),
    (
        "https://h.example/%2e%2e/a%20b?s=%2F&t=a+b",
        Url("https", "h.example", 443, "/%2e%2e/a%20b?s=%2F&t=a+b"),
    ),
    ("https://h.example/bücher", Url("https", "h.example", 443, "/b%C3%BCcher")),
    ("https://cafe.de/", Url("https", "cafe.de", 443, "/")),
]


@pytest.mark.parametrize(("text", "url"), GOOD_URLS)
def test_good_addresses(text: str, url: Url) -> None:
    assert parse(text) == url
    assert parse(str(url)) == url


BAD_URLS = [
    "", "x", "/x", "//example.com/", "http:", "http:/x", "http:///x", "http://", "file:///etc/passwd", "ftp://example.com/",
    "gopher://example.com/", "data:text/plain,x", "javascript:alert(1)", "http+unix://x/y",
    "http://trusted\\@evil/", "http://trusted\\.evil/", "http://trusted/\\evil", "http://trusted#@evil/", "http://trusted?@evil\\",
    "http://user@evil/", "http://user:password@evil/", "http://@evil/", "http://a@b@c/", "http://trusted:80@evil/",
    "http://[localhost]/", "http://[::1", "http://[::1]x/", "http://[::1]:/", "http://[fe80::1%25eth0]/", "http://[127.0.0.1]/",
    "http://::1/", "http://a:b:c/", "http://a:/", "http://a:0/", "http://a:65536/", "http://a:+80/", "http://a:8 0/", "http://a:٨٠/",
    "http://xn--/", "http://a.xn--.b/", "http://xn--a/", "http://xn--abc/", "http://xn--ls8h\udcff/",
    "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://127.1/", "http://1.2.3.4.5/", "http://a.0x1/",
    "http://a..b/", "http://.a/", "http://a./", "http://-a.b/", "http://a-.b/", "http://bücher.example/", "http://ⓛocalhost/",
    "http://a%2eb/", "http://a%00b/", "http://a b/", "http://a/ b", "http://a/\n", "\thttp://a/", "http://a/\x00", "http://a/\x7f",
    "http://" + "a" * 64 + "/", "http://" + "a." * 127 + "com/", "http://a/" + "x" * 20000, "http://a,b/", "http://a;b/", "http://*/",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD_URLS)
def test_what_not_everybody_reads_alike_is_refused(text: str) -> None:
    with pytest.raises(BadUrl):
        parse(text)


@given(
    st.sampled_from(["http://", "https://", "HTTP://", ""]),
    st.text(alphabet="ab1x0.@\\#?/:[]%-_\t ü&=;,~", max_size=24),
)
def test_what_is_taken_means_the_same_host_to_everybody(scheme: str, rest: str) -> None:
    """To Python's own parser, to urllib3's and to requests', as it was written and as we write it."""
    try:
        url = parse(scheme + rest)
    except BadUrl:
        return
    for text in (scheme + rest, str(url)):
        split, other = urlsplit(text), parse_url(text)
        prepared = requests.Request("GET", text).prepare().url
        assert prepared is not None
        for host, port in [
            (split.hostname, split.port),
            ((other.host or "").strip("[]"), other.port),
            (urlsplit(prepared).hostname, urlsplit(prepared).port),
        ]:
            assert (host, port or {"http": 80, "https": 443}[url.scheme]) == (url.host, url.port)


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("/x", "https://h.example:444/x"), ("x?y", "https://h.example:444/a/x?y"), ("../z", "https://h.example:444/z"),
        ("?q=1", "https://h.example:444/a/b?q=1"), ("//other.example/x", "https://other.example/x"), ("#f", "https://h.example:444/a/b"),
        ("http://other.example/", "http://other.example/"), ("  /spaces\t", "https://h.example:444/spaces"),
        ("/a b", "https://h.example:444/a%20b"), ("/\xc3\xbc", "https://h.example:444/%C3%BC"),
    ],
)  # fmt: skip
def test_where_a_location_leads(location: str, where: str) -> None:
    assert join(parse("https://h.example:444/a/b"), location) == parse(where)


@pytest.mark.parametrize(
    "location",
    ["file:///etc/passwd", "ftp://h/", "//", "///evil/x", "http:", "http:/evil/", "https:evil", "http:\\\\evil", "//trusted\\@evil/",
     "\\\\evil\\x", "http://\xe2\x93\x9bocalhost/", "//user@evil/", "javascript:x"],
)  # fmt: skip
def test_where_none_leads(location: str) -> None:
    with pytest.raises(BadUrl):
        join(parse("https://h.example/a/b"), location)


@given(st.text(max_size=60))
def test_any_location_leads_to_an_address_or_nowhere(location: str) -> None:
    base = parse("https://h.example/a/b")
    try:
        step = join(base, location)
    except BadUrl:
        return
    assert parse(str(step)) == step


def test_what_is_shown_has_no_query() -> None:
    url = parse("https://h.example/blob?X-Amz-Signature=canary")
    for text in (url.shown, repr(url), url.place):
        assert "canary" not in text
