package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// The lines of the page in docs between which the numbers are.
const (
	numbersBegin = "<!-- numbers: written by go run ./bench --update-docs -->\n"
	numbersEnd   = "<!-- end of numbers -->\n"
)

// updateDocs puts the table of the results in a file into a page.
func updateDocs(results, page string) error {
	r, err := readReport(results)
	if err != nil {
		return err
	}
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	text, err = withNumbers(text, r.table())
	if err != nil {
		return fmt.Errorf("%s: %w", page, err)
	}
	return os.WriteFile(page, text, 0o644)
}

// withNumbers replaces what is between the page's two lines by numbers.
func withNumbers(page []byte, numbers string) ([]byte, error) {
	before, rest, ok1 := bytes.Cut(page, []byte(numbersBegin))
	_, after, ok2 := bytes.Cut(rest, []byte(numbersEnd))
	if !ok1 || !ok2 {
		return nil, errors.New("it lacks the lines between which the numbers go")
	}
	return fmt.Appendf(nil, "%s%s\n%s\n%s%s", before, numbersBegin, numbers, numbersEnd, after), nil
}
