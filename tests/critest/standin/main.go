// What critest's images run in place of the programs that it knows: by the name that it is called by, a web server that
// tells its pid, or a program that tells as whom it runs.
package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
)

func main() {
	if filepath.Base(os.Args[0]) == "nnp" {
		fmt.Printf("Effective uid: %d\n", os.Geteuid())
		return
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "80"
	}
	if err := os.WriteFile("/var/run/nginx.pid", fmt.Appendf(nil, "%d\n", os.Getpid()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	fmt.Println(filepath.Base(os.Args[0]), "listens on port", port)
	page := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "a page") }
	if err := http.ListenAndServe(":"+port, http.HandlerFunc(page)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
