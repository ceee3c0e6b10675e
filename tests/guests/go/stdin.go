// Reads standard input, line by line, while another goroutine says that it goes on.
package main

import (
	"bufio"
	"fmt"
	"os"
	"time"
)

func main() {
	go func() {
		for tick := 1; ; tick++ {
			time.Sleep(20 * time.Millisecond)
			fmt.Println("tick", tick)
		}
	}()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println("read", lines.Text())
	}
	fmt.Println("the end", lines.Err())
}
