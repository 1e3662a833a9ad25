"""Real servers for the client's tests, each on a free port of 127.0.0.1, over plain HTTP and TLS.

`nginx` is told in nginx.conf.template what it does. uvicorn, aiohttp and Node's http server keep one *echo contract*:

    ANY  /echo[/...]          200, JSON: method, path, query, headers, length, sha256, body_latin1
    POST /form                200, JSON: {"parts": [{name, filename, content_type, length, sha256, body_latin1}, ...]},
                              or 400 with {"error": ...} for what is no form
    ANY  /status/{code}       that status, once the body has been read
    ANY  /early/{code}        that status, sent before any of the body is read
    ANY  /redirect/{code}?to= that status with a Location, once the body has been read
    ANY  /chunked?n=          200, n bytes of `contract.pattern`, in chunks

`path` and `query` are as on the wire, `headers` is a list of [name, value] pairs in their order with names in lower
case, `length` counts the body's bytes as they came (no encoding is undone), and `body_latin1` is the body as Latin-1
text, left out at 4 KiB and more.

httpbin is what others have made of the same idea: tests/httpbin goes through what it serves.
"""
