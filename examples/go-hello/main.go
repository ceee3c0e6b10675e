// The ordinary Go program: its arguments, its environment, a file, an exit code. Nothing in it knows of WebAssembly.
package main

import (
	"fmt"
	"os"
	"runtime"
)

func main() {
	name := os.Getenv("NAME")
	if name == "" {
		name = "nobody in particular"
	}
	fmt.Printf("Ahoy, %s, from Go on %s/%s!\n", name, runtime.GOOS, runtime.GOARCH)
	for _, path := range os.Args[1:] {
		text, err := os.ReadFile(path)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Printf("%s: %s", path, text)
	}
}
