// go-client runs one image on containerd, on the engine that a flag names, and ends with the guest's exit code:
//
//	go-client [-engine wasmtime|wasmer] [-tar FILE] IMAGE [ARGUMENT...]
//
// IMAGE is pulled, or imported from FILE, an OCI layout as `docker save` and `ctr images export` write it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/pkg/cio"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/oci"
	"github.com/containerd/errdefs"
)

// The shim's name; containerd finds its program, containerd-shim-catamaran-v1, in its own PATH.
const runtime = "io.containerd.catamaran.v1"

// What chooses the engine. Without it, the module does.
const annotation = "catamaran.wasm/engine"

type options struct {
	address, namespace, engine, tar string
}

func main() {
	var o options
	flag.StringVar(&o.address, "address", "/run/containerd/containerd.sock", "containerd's `socket`")
	flag.StringVar(&o.namespace, "namespace", "default", "containerd's `namespace` of the image and the container")
	flag.StringVar(&o.engine, "engine", "", "wasmtime or wasmer; without it, the one that the module needs")
	flag.StringVar(&o.tar, "tar", "", "import the image from this `file` in place of pulling it")
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	code, err := run(o, flag.Arg(0), flag.Args()[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "go-client:", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "exit code", code)
	os.Exit(int(code))
}

func run(o options, name string, args []string) (code uint32, err error) {
	ctx := namespaces.WithNamespace(context.Background(), o.namespace)
	containerd, err := client.New(o.address)
	if err != nil {
		return 0, fmt.Errorf("no containerd at %s: %w", o.address, err)
	}
	defer containerd.Close()
	image, err := provide(ctx, containerd, o.tar, name)
	if err != nil {
		return 0, err
	}

	spec := []oci.SpecOpts{oci.WithImageConfigArgs(image, args)}
	if o.engine != "" {
		spec = append(spec, oci.WithAnnotations(map[string]string{annotation: o.engine}))
	}
	id := fmt.Sprintf("go-client-%d", os.Getpid())
	container, err := containerd.NewContainer(ctx, id,
		client.WithImage(image),
		client.WithNewSnapshot(id, image),
		client.WithRuntime(runtime, nil),
		client.WithNewSpec(spec...),
	)
	if err != nil {
		return 0, fmt.Errorf("no container of %s: %w", name, err)
	}
	defer func() { err = errors.Join(err, container.Delete(ctx, client.WithSnapshotCleanup)) }()
	return wait(ctx, container)
}

// provide imports the image or pulls it, and unpacks its layers.
func provide(ctx context.Context, containerd *client.Client, tar, name string) (client.Image, error) {
	if tar == "" {
		image, err := containerd.Pull(ctx, name, client.WithPullUnpack)
		if err != nil {
			return nil, fmt.Errorf("cannot pull %s: %w", name, err)
		}
		return image, nil
	}
	file, err := os.Open(tar)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	if _, err := containerd.Import(ctx, file); err != nil {
		return nil, fmt.Errorf("cannot import %s: %w", tar, err)
	}
	image, err := containerd.GetImage(ctx, name)
	if errdefs.IsNotFound(err) {
		return nil, fmt.Errorf("%s holds no image that is called %s", tar, name)
	} else if err != nil {
		return nil, err
	}
	return image, image.Unpack(ctx, "")
}

// wait runs the container's task, whose output is this program's, until it ends. SIGINT and SIGTERM are the guest's.
func wait(ctx context.Context, container client.Container) (code uint32, err error) {
	task, err := container.NewTask(ctx, cio.NewCreator(cio.WithStreams(nil, os.Stdout, os.Stderr)))
	if err != nil {
		return 0, err
	}
	// An end that comes early is not missed: this asks before the start.
	ended, err := task.Wait(ctx)
	if err == nil {
		err = task.Start(ctx)
	}
	if err != nil {
		_, deleted := task.Delete(ctx, client.WithProcessKill)
		return 0, errors.Join(err, deleted)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	for {
		select {
		case number := <-signals:
			if err := task.Kill(ctx, number.(syscall.Signal)); err != nil && !errdefs.IsNotFound(err) {
				fmt.Fprintln(os.Stderr, "go-client:", err)
			}
		case status := <-ended:
			code, _, err = status.Result()
			within, cancel := context.WithTimeout(ctx, 10*time.Second)
			_, deleted := task.Delete(within)
			cancel()
			return code, errors.Join(err, deleted)
		}
	}
}
