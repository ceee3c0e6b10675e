// Report is a Go program of the size that services have, 5 MB: a template, a regular expression, JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"text/template"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "report:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	page, err := template.New("page").Parse("{{len .Words}} words: {{.Text}}\n")
	if err != nil {
		return err
	}
	words := []string{}
	for _, arg := range args {
		words = append(words, regexp.MustCompile(`\pL+`).FindAllString(arg, -1)...)
	}
	text, err := json.Marshal(words)
	if err != nil {
		return err
	}
	return page.Execute(os.Stdout, map[string]any{"Words": words, "Text": string(text)})
}
