// Loads a compose file with the library that compose itself loads it with, and prints its services.
package main

import (
	"context"
	"fmt"
	"os"
	"sort"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(
		[]string{os.Args[1]},
		cli.WithName("imex"),
		cli.WithEnvFiles(os.Args[2]),
		cli.WithDotEnv,
		cli.WithInterpolation(true),
		cli.WithConsistency(true),
	)
	if err == nil {
		var names []string
		project, loadErr := options.LoadProject(context.Background())
		if err = loadErr; err == nil {
			for name := range project.Services {
				names = append(names, name)
			}
			sort.Strings(names)
			for _, name := range names {
				fmt.Println(name)
			}
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
