// Carry copies a file: an init container that fills a volume of its pod.
//
//	carry FROM TO
package main

import (
	"fmt"
	"os"
)

func main() {
	content, err := os.ReadFile(os.Args[1])
	if err == nil {
		err = os.WriteFile(os.Args[2], content, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "carry:", err)
		os.Exit(1)
	}
	fmt.Println("carried", len(content), "bytes")
}
