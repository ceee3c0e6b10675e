"""A web server: a class that WASI's HTTP handler is, called for each request."""

from urllib.parse import parse_qs, urlsplit

from componentize_py_types import Ok
from wit_world import exports
from wit_world.imports.types import Fields, IncomingRequest, OutgoingBody, OutgoingResponse, ResponseOutparam


class IncomingHandler(exports.IncomingHandler):
    def handle(self, request: IncomingRequest, response_out: ResponseOutparam) -> None:
        names = parse_qs(urlsplit(request.path_with_query() or "/").query).get("name", ["stranger"])
        text = f"Ahoy from Python, {names[0]}!\n".encode()
        headers = [("content-type", b"text/plain; charset=utf-8"), ("content-length", str(len(text)).encode())]
        response = OutgoingResponse(Fields.from_list(headers))
        body = response.body()
        ResponseOutparam.set(response_out, Ok(response))
        # The stream is to be gone before its body is finished.
        with body.write() as stream:
            stream.blocking_write_and_flush(text)
        OutgoingBody.finish(body, None)
