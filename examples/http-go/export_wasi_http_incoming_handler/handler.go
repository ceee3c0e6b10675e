// Package export_wasi_http_incoming_handler is what the bindings' main program calls for each request.
package export_wasi_http_incoming_handler

import (
	"fmt"
	"net/url"
	"strconv"

	. "go.bytecodealliance.org/pkg/wit/types"
	"wit_component/wasi_http_types"
)

// Handle answers a request.
func Handle(request *wasi_http_types.IncomingRequest, out *wasi_http_types.ResponseOutparam) {
	defer request.Drop()
	name := "stranger"
	if target, err := url.ParseRequestURI(request.PathWithQuery().SomeOr("/")); err == nil && target.Query().Has("name") {
		name = target.Query().Get("name")
	}
	text := []byte(fmt.Sprintf("Ahoy from Go, %s!\n", name))
	headers := wasi_http_types.FieldsFromList([]Tuple2[string, []byte]{
		{F0: "content-type", F1: []byte("text/plain; charset=utf-8")},
		{F0: "content-length", F1: []byte(strconv.Itoa(len(text)))},
	}).Ok()
	response := wasi_http_types.MakeOutgoingResponse(headers)
	body := response.Body().Ok()
	wasi_http_types.ResponseOutparamSet(out, Ok[*wasi_http_types.OutgoingResponse, wasi_http_types.ErrorCode](response))
	stream := body.Write().Ok()
	written := stream.BlockingWriteAndFlush(text)
	// The stream is to be gone before its body is finished.
	stream.Drop()
	if written.IsErr() {
		// The client is gone: a body that is dropped is one that ends early.
		body.Drop()
		return
	}
	wasi_http_types.OutgoingBodyFinish(body, None[*wasi_http_types.Fields]())
}
