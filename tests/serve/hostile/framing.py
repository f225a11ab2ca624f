"""Content-Length and Transfer-Encoding: where a message ends, and who disagrees about it."""

# A table, one case per line.
# ruff: noqa: E501
# fmt: off

from __future__ import annotations

from typing import Final

from serve.hostile.case import Case, last, refused, served

POST: Final = b"POST /a HTTP/1.1\r\nHost: a\r\n"
CHUNKS: Final = b"3\r\nabc\r\n0\r\n\r\n"
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def te(value: bytes, body: bytes = CHUNKS) -> bytes:
    return POST + b"Transfer-Encoding:" + value + b"\r\n\r\n" + body


def cl(value: bytes, body: bytes = b"abcde") -> bytes:
    return POST + b"Content-Length:" + value + b"\r\n\r\n" + body


BOTH: Final = (
    refused("CL.TE", POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, "9112 6.3"),
    refused("TE.CL", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "9112 6.3"),
    refused("CL.0 with TE", POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, "9112 6.3"),
    refused("CL with a TE of identity", POST + b"Content-Length: 3\r\nTransfer-Encoding: identity\r\n\r\nabc", "9112 6.1"),
    refused("CL with an empty TE", POST + b"Content-Length: 3\r\nTransfer-Encoding:\r\n\r\nabc", "9112 6.1"),
    refused("CL and TE, spelled oddly", POST + b"cONTENT-lENGTH: 3\r\ntRANSFER-eNCODING: cHUNKED\r\n\r\n" + CHUNKS, "9112 6.3"),
    refused("CL, TE and Connection naming TE", POST + b"Connection: Transfer-Encoding\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, "9112 6.3"),
    refused("CL and TE on HTTP/1.0", b"POST /a HTTP/1.0\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, "9112 6.1"),
)

CODINGS: Final = (
    served("chunked", te(b" chunked"), "9112 7.1", "POST /a abc"),
    served("chunked without a space", te(b"chunked"), "9112 5.1", "POST /a abc"),
    served("chunked after a tab", te(b"\tchunked"), "9112 5.1", "POST /a abc"),
    served("chunked between spaces", te(b" \t chunked  "), "9112 5.1", "POST /a abc"),
    # Whitespace that the grammar allows and that has been used to hide a coding: refused, which harms nobody.
    refused("chunked before a tab", te(b" chunked\t"), "9112 11.2"),
    served("Chunked", te(b" Chunked"), "9112 7", "POST /a abc"),
    served("CHUNKED", te(b" CHUNKED"), "9112 7", "POST /a abc"),
    refused("xchunked", te(b" xchunked"), "9112 6.3"),
    refused("chunkedx", te(b" chunkedx"), "9112 6.3"),
    refused("chunked in quotes", te(b' "chunked"'), "9112 6.3"),
    refused("chunked with a parameter", te(b" chunked;a=b"), "9112 7.1"),
    refused("chunked, identity", te(b" chunked, identity"), "9112 6.3"),
    refused("identity, chunked", te(b" identity, chunked"), "9112 7", 501),
    refused("identity", te(b" identity", b""), "9112 6.3"),
    refused("gzip", te(b" gzip", b""), "9112 6.3"),
    refused("gzip, chunked", te(b" gzip, chunked"), "9112 6.1", 501),
    refused("chunked, gzip", te(b" chunked, gzip"), "9112 6.3"),
    refused("chunked, chunked", te(b" chunked, chunked"), "9112 6.1"),
    refused("chunked and a comma", te(b" chunked,"), "9112 6.1"),
    refused("a comma and chunked", te(b" ,chunked"), "9112 6.1", 501),
    refused("chunked after a vertical tab", te(b" \x0bchunked"), "9110 5.5"),
    refused("chunked before a vertical tab", te(b" chunked\x0b"), "9110 5.5"),
    refused("chunked after a form feed", te(b" \x0cchunked"), "9110 5.5"),
    refused("chunked before a NUL", te(b" chunked\0"), "9110 5.5"),
    refused("chunked after a no-break space", te(b" \xa0chunked"), "9112 6.3"),
    refused("chun ked", te(b" chun ked"), "9112 6.3"),
    refused("an empty TE", te(b"", b""), "9112 6.3"),
    refused("TE twice", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, "9112 6.1"),
    refused("TE twice, chunked first", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n" + CHUNKS, "9112 6.3"),
    refused("TE twice, chunked last", POST + b"Transfer-Encoding: x\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, "9112 6.1", 501),
    refused("TE with a folded value", te(b"\r\n chunked"), "9112 5.2"),
    refused("TE folded after chunked", te(b" chunked\r\n , identity"), "9112 5.2"),
    refused("TE before a colon with a space", POST + b"Transfer-Encoding : chunked\r\n\r\n" + CHUNKS, "9112 5.1"),
    refused("TE behind a bare LF", POST + b"X: y\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, "9112 2.2"),
    refused("TE behind a bare CR", POST + b"X: y\rTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, "9112 2.2"),
    refused("chunked on HTTP/1.0", b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, "9112 6.1"),
    # Another field altogether, without a body: what follows is the next request.
    served("Transfer_Encoding", POST + b"Transfer_Encoding: chunked\r\n\r\n", "9112 6.3", "POST /a"),
    served("TE as a field", POST + b"TE: chunked\r\n\r\n", "9110 10.1.4", "POST /a"),
    refused("Transfer-Encoding with a letter that is none", POST + b"Transfer-\xc4\xb0ncoding: chunked\r\n\r\n" + CHUNKS, "9110 5.1"),
)

LENGTHS: Final = (
    served("a length", cl(b" 5"), "9112 6.2", "POST /a abcde"),
    served("a length of zero", cl(b" 0", b""), "9112 6.2", "POST /a"),
    served("a length with leading zeros", cl(b" 0005"), "9110 8.6", "POST /a abcde"),
    served("a length between tabs", cl(b"\t5\t"), "9112 5.1", "POST /a abcde"),
    served("a body that looks like a request", cl(b" %d" % len(SMUGGLED), SMUGGLED), "9112 6.3", "POST /a " + SMUGGLED.decode()),
    served("Content_Length", POST + b"Content_Length: 5\r\n\r\n", "9112 6.3", "POST /a"),
    refused("two lengths that differ", POST + b"Content-Length: 5\r\nContent-Length: 0\r\n\r\nabcde", "9112 6.3"),
    refused("the same length twice", POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nabcde", "9112 6.3"),
    refused("the same length twice, spelled oddly", POST + b"Content-Length: 5\r\nCONTENT-length: 5\r\n\r\nabcde", "9112 6.3"),
    refused("5, 5", cl(b" 5, 5"), "9112 6.3"),
    refused("5, 6", cl(b" 5, 6"), "9112 6.3"),
    refused("5,", cl(b" 5,"), "9110 8.6"),
    refused("5 0", cl(b" 5 0"), "9110 8.6"),
    refused("+5", cl(b" +5"), "9110 8.6"),
    refused("-5", cl(b" -5"), "9110 8.6"),
    refused("-0", cl(b" -0"), "9110 8.6"),
    refused("0x5", cl(b" 0x5"), "9110 8.6"),
    refused("5.0", cl(b" 5.0"), "9110 8.6"),
    refused("5e0", cl(b" 5e0"), "9110 8.6"),
    refused("5_0", cl(b" 5_0"), "9110 8.6"),
    refused("5;", cl(b" 5;"), "9110 8.6"),
    refused("a length of letters", cl(b" abc"), "9110 8.6"),
    refused("an empty length", cl(b""), "9110 8.6"),
    refused("a length of spaces", cl(b"   "), "9110 8.6"),
    refused("a length in quotes", cl(b' "5"'), "9110 8.6"),
    refused("a length in other digits", cl(b" \xd9\xa5"), "9110 8.6"),
    refused("2^64", cl(b" 18446744073709551616"), "9110 8.6"),
    refused("2^64 + 5", cl(b" 18446744073709551621"), "9110 8.6"),
    refused("a length of a thousand digits", cl(b" " + b"9" * 1000), "9110 8.6"),
    refused("a length before a NUL", cl(b" 5\0"), "9110 5.5"),
    refused("a length after a vertical tab", cl(b" \x0b5"), "9110 5.5"),
    refused("a folded length", cl(b"\r\n 5"), "9112 5.2"),
    refused("a length that goes on when folded", cl(b" 5\r\n 5"), "9112 5.2"),
    refused("a length before a colon with a space", POST + b"Content-Length : 5\r\n\r\nabcde", "9112 5.1"),
    refused("a length before a colon with a tab", POST + b"Content-Length\t: 5\r\n\r\nabcde", "9112 5.1"),
    refused("a length behind a bare LF", POST + b"X: y\nContent-Length: 5\r\n\r\nabcde", "9112 2.2"),
    refused("a length behind a bare CR", POST + b"X: y\rContent-Length: 5\r\n\r\nabcde", "9112 2.2"),
    served("GET with a body", b"GET /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", "9110 9.3.1", "GET /a abcde"),
    served("HEAD with a body", b"HEAD /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", "9110 9.3.2", "HEAD /a abcde"),
    served("GET with a chunked body", b"GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + CHUNKS, "9110 9.3.1", "GET /a abc"),
    served("DELETE with a body", b"DELETE /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", "9110 9.3.5", "DELETE /a abcde"),
    served("OPTIONS with a body", b"OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nabcde", "9110 9.3.7", "OPTIONS * abcde"),
    served("POST without a length", POST + b"\r\n", "9112 6.3", "POST /a"),
    refused("more body than its length", cl(b" 3", b"abcde"), "9112 6.3", after=("POST /a abc",)),
    served("more body than its length, and it is a request", cl(b" 3", b"abc" + SMUGGLED), "9112 6.3", "POST /a abc", "GET /smuggled"),
    last("a length on HTTP/1.0", b"POST /a HTTP/1.0\r\nContent-Length: 5\r\n\r\nabcde", "9112 6.3", "POST /a abcde"),
)

CASES: Final[tuple[Case, ...]] = (*BOTH, *CODINGS, *LENGTHS)
