// What the images of critest and of Kubernetes' end-to-end suite run in place of the programs that they know: by the name that it
// is called by, a web server that tells its pid, a program that tells as whom it runs, one that waits to be ended, one that fetches a page, and those that
// Debian's busybox does not have.
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
)

func main() {
	switch filepath.Base(os.Args[0]) {
	case "nnp":
		fmt.Printf("Effective uid: %d\n", os.Geteuid())
	case "curl":
		fetch(os.Args[1:])
	case "ipcs":
		segments()
	case "sh":
		shell()
	case "pause":
		wait()
	case "pgrep":
		find(os.Args[len(os.Args)-1])
	default:
		serve()
	}
}

// Prints what is at the address among the words; what else they ask for is not looked at.
func fetch(words []string) {
	for _, word := range words {
		if !strings.HasPrefix(word, "http") {
			continue
		}
		answer, err := http.Get(word)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(7)
		}
		defer answer.Body.Close()
		if _, err := io.Copy(os.Stdout, answer.Body); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(18)
		}
		return
	}
	fmt.Fprintf(os.Stderr, "curl: no address that begins with http among %q\n", words)
	os.Exit(2)
}

// A shell: busybox's, whose messages the suite knows, but for an environment that this would not hand on as it is. It drops
// variables whose names are none of a shell's.
func shell() {
	program := "/bin/busybox"
	for _, entry := range os.Environ() {
		name, _, _ := strings.Cut(entry, "=")
		if strings.ContainsFunc(name, func(r rune) bool { return r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
			program = "/bin/bash"
		}
	}
	err := syscall.Exec(program, os.Args, os.Environ())
	fmt.Fprintln(os.Stderr, program, err)
	os.Exit(127)
}

// Waits for the signal by which containers are ended.
func wait() {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	<-signals
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
	var page http.Handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "a page") })
	// The suite takes a file away and looks whether it is missed.
	if folder := os.Getenv("PAGES"); folder != "" {
		page = files(folder)
	}
	if err := http.ListenAndServe(":"+port, page); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// The files of a folder, each by its own name: http.FileServer would lead from index.html to the folder.
func files(folder string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name := filepath.Join(folder, filepath.Clean("/"+r.URL.Path))
		if strings.HasSuffix(r.URL.Path, "/") {
			name = filepath.Join(name, "index.html")
		}
		text, err := os.ReadFile(name)
		if err != nil {
			http.NotFound(w, r)
			return
		}
		w.Write(text)
	})
}
