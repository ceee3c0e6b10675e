// What critest's images run in place of the programs that it knows: by the name that it is called by, a web server that
// tells its pid, a program that tells as whom it runs, and those that Debian's busybox does not have.
package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "nnp":
		fmt.Printf("Effective uid: %d\n", os.Geteuid())
	case "ipcs":
		segments()
	case "pgrep":
		find(os.Args[len(os.Args)-1])
	default:
		serve()
	}
}

// The segments of shared memory, as the kernel lists them.
func segments() {
	text, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Print(string(text))
}

// The numbers of the processes of this name; 1 where there is none.
func find(name string) {
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	code := 1
	for _, file := range names {
		// One that ends meanwhile has no name any more.
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), name) {
			fmt.Println(filepath.Base(filepath.Dir(file)))
			code = 0
		}
	}
	os.Exit(code)
}

func serve() {
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
