// What a server in Go is held against: net/http natively, with the answers of tests/guests/http/server.c that the benchmark asks for.
// /hello, /echo and /bytes?N on port 8080.
package main

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"strconv"
)

var room = bytes.Repeat([]byte("x"), 64<<10)

func main() {
	http.HandleFunc("/hello", func(answer http.ResponseWriter, _ *http.Request) {
		io.WriteString(answer, "hello from http\n")
	})
	http.HandleFunc("/echo", func(answer http.ResponseWriter, request *http.Request) {
		// All of it first: HTTP/1.1 handlers of net/http may not read behind their first write.
		body, err := io.ReadAll(request.Body)
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
			return
		}
		answer.Write(body)
	})
	http.HandleFunc("/bytes", func(answer http.ResponseWriter, request *http.Request) {
		left, err := strconv.Atoi(request.URL.RawQuery)
		if err != nil {
			http.Error(answer, err.Error(), http.StatusBadRequest)
			return
		}
		answer.Header().Set("content-length", strconv.Itoa(left))
		for left > 0 {
			written, err := answer.Write(room[:min(left, len(room))])
			if err != nil {
				return
			}
			left -= written
		}
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}
