// Kitchen is one program with a subcommand for each thing a container may do; each prints what it found.
//
//	args [ARG...]      its arguments, one a line, its own name first
//	env NAME           the variable's value, or "(unset)"
//	cwd                the working directory
//	read PATH          the file's content
//	write PATH TEXT    makes or replaces the file
//	append PATH TEXT   adds to the file
//	ls PATH            the directory's names, one a line
//	rm PATH            removes the file
//	files DIR          makes, changes and removes files and folders there, and prints what became of them
//	stdin              reads all of stdin, prints the number of bytes and then the text
//	stderr TEXT        the text, on stderr
//	sleep DURATION     "ready", then sleeps
//	panic              ends with a Go panic
//	exit CODE          ends with the code
//
// A failure is printed on stderr and ends with code 1.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "kitchen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("a subcommand is missing")
	}
	command, rest := args[0], args[1:]
	at := func(i int) string {
		if i < len(rest) {
			return rest[i]
		}
		return ""
	}
	switch command {
	case "args":
		for _, arg := range os.Args {
			fmt.Println(arg)
		}
	case "env":
		value, set := os.LookupEnv(at(0))
		if !set {
			value = "(unset)"
		}
		fmt.Println(value)
	case "cwd":
		dir, err := os.Getwd()
		if err != nil {
			return err
		}
		fmt.Println(dir)
	case "read":
		text, err := os.ReadFile(at(0))
		if err != nil {
			return err
		}
		_, err = os.Stdout.Write(text)
		return err
	case "write":
		return os.WriteFile(at(0), []byte(at(1)), 0o644)
	case "append":
		return add(at(0), at(1))
	case "ls":
		entries, err := os.ReadDir(at(0))
		if err != nil {
			return err
		}
		for _, entry := range entries {
			fmt.Println(entry.Name())
		}
	case "rm":
		return os.Remove(at(0))
	case "files":
		return files(at(0))
	case "stdin":
		text, err := io.ReadAll(os.Stdin)
		if err != nil {
			return err
		}
		fmt.Printf("%d\n%s", len(text), text)
	case "stderr":
		fmt.Fprintln(os.Stderr, at(0))
	case "sleep":
		pause, err := time.ParseDuration(at(0))
		if err != nil {
			return err
		}
		fmt.Println("ready")
		time.Sleep(pause)
	case "panic":
		panic("as asked")
	case "exit":
		code, err := strconv.Atoi(at(0))
		if err != nil {
			return err
		}
		os.Exit(code)
	default:
		return fmt.Errorf("unknown subcommand %q", command)
	}
	return nil
}

func add(path, text string) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	if _, err := file.WriteString(text); err != nil {
		return errors.Join(err, file.Close())
	}
	return file.Close()
}

// files does what programs do with files that live longer than they do.
func files(dir string) error {
	if err := os.Chdir(dir); err != nil {
		return err
	}
	must := func(errs ...error) {
		if err := errors.Join(errs...); err != nil {
			fmt.Println("error:", err)
		}
	}
	show := func(what, path string) {
		text, err := os.ReadFile(path)
		must(err)
		fmt.Printf("%s: %s\n", what, text)
	}
	put := func(path, text string) { must(os.WriteFile(path, []byte(text), 0o644)) }

	put("log", "a line that goes")
	log, err := os.OpenFile("log", os.O_TRUNC|os.O_APPEND|os.O_WRONLY, 0)
	must(err)
	info, err := log.Stat()
	must(err)
	fmt.Println("truncated:", info.Size())
	must(add("log", "one,"))
	_, err = log.WriteString("two,")
	must(err, add("log", "three"), log.Close())
	show("appended", "log")

	put("one", "1")
	put("two", "2")
	must(os.Symlink("one", "current"))
	show("link", "current")
	must(os.Symlink("two", "next"), os.Rename("next", "current"))
	show("link renamed over", "current")
	old, err := os.Open("one")
	must(err, os.Rename("two", "one"))
	show("file renamed over", "one")
	must(old.Close())

	must(os.MkdirAll("folder/below", 0o755))
	put("folder/below/file", "moved")
	must(os.Rename("folder/below", "elsewhere"))
	show("folder", "elsewhere/file")
	fmt.Println("not empty:", os.Remove("elsewhere") != nil)
	must(os.Remove("elsewhere/file"), os.Remove("elsewhere"))
	for n := 0; n < 2000; n++ {
		put(fmt.Sprintf("folder/%04d", n), "")
	}
	entries, err := os.ReadDir("folder")
	must(err, os.RemoveAll("folder"))
	_, err = os.Stat("folder")
	fmt.Println("removed:", len(entries), errors.Is(err, os.ErrNotExist))
	return nil
}
