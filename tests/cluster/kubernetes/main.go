// Kubernetes' own programs in one: the name that it is called by says which of them it is. They share most of their code,
// so that one is built in half of the time that five are.
package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // for CronJobs with a time zone, where the machine has none

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	"k8s.io/component-base/logs"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	var command *cobra.Command
	switch name := filepath.Base(os.Args[0]); name {
	case "kube-apiserver":
		command = apiserver.NewAPIServerCommand()
	case "kube-controller-manager":
		command = controllers.NewControllerManagerCommand()
	case "kube-scheduler":
		command = scheduler.NewSchedulerCommand()
	case "kubelet":
		command = kubelet.NewKubeletCommand(context.Background())
	case "kubectl":
		// Its errors are its users' to read, not a log's.
		logs.GlogSetter(cmd.GetLogVerbosity(os.Args)) //nolint:errcheck
		if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
			util.CheckErr(err)
		}
		return
	case "keys":
		if len(os.Args) != 3 {
			fmt.Fprintln(os.Stderr, "keys: expected a folder and the address of the API server")
			os.Exit(2)
		}
		if err := keys(os.Args[1], os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, "keys:", err)
			os.Exit(1)
		}
		return
	default:
		fmt.Fprintf(os.Stderr, "called as %q: expected kube-apiserver, kube-controller-manager, kube-scheduler, kubelet, kubectl or keys\n", name)
		os.Exit(2)
	}
	os.Exit(cli.Run(command))
}
