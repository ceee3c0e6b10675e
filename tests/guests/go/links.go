// Links does what an image's program does with files behind links to absolute paths, and prints what came of it.
package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

func main() {
	text, err := os.ReadFile("/var/run/x")
	fmt.Printf("read: %s %v\n", text, err)
	info, err := os.Stat("/var/run")
	fmt.Println("stat:", err == nil && info.IsDir(), err)
	info, err = os.Lstat("/var/run")
	fmt.Println("lstat:", err == nil && info.Mode()&fs.ModeSymlink != 0, err)
	where, err := os.Readlink("/var/run")
	fmt.Println("readlink:", where, err)
	entries, err := os.ReadDir("/var/run")
	fmt.Println("readdir:", len(entries), err)
	fmt.Println("write through a link to nothing:", os.WriteFile("/links/new", []byte("made"), 0o644))
	text, err = os.ReadFile("/srv/made")
	fmt.Printf("made: %s %v\n", text, err)
	fmt.Println("mkdir:", os.MkdirAll("/var/run/a/b", 0o755))
	fmt.Println("rename:", os.Rename("/var/run/made", "/var/run/a/b/moved"))
	fmt.Println("symlink:", os.Symlink("/srv/a", "/links/own"))
	text, err = os.ReadFile("/links/own/b/moved")
	fmt.Printf("through its own: %s %v\n", text, err)
	fmt.Println("remove the link:", os.Remove("/links/own"))
	_, err = os.Stat("/srv/a/b/moved")
	fmt.Println("what it led to:", err)
	fmt.Println("remove all:", os.RemoveAll("/var/run/a"))
	_, err = os.Stat("/srv/a")
	fmt.Println("gone:", errors.Is(err, fs.ErrNotExist))
	_, err = os.ReadFile("/links/loop")
	fmt.Println("loop:", err)
	_, err = os.ReadFile("/links/shadow")
	fmt.Println("shadow:", err)
	fmt.Println("read-only:", os.WriteFile("/ro/new", nil, 0o644))
	err = os.Rename("/srv/x", "/scratch/x")
	fmt.Println("another mount:", errors.Is(err, syscall.EXDEV), err)
}
