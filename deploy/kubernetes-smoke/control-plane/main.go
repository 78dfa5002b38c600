// A Kubernetes control plane in one program: etcd, kube-apiserver, kube-controller-manager, kube-scheduler; and kubectl.
//
// What it is: the upstream components, unchanged, each started by its name as the first argument, with upstream's own
// flags after it. One program because the components share nearly all of what has to be compiled.
// Belongs here: choosing a component. Does not belong here: how they are configured (control_plane.py does that).
package main

import (
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // time zones of CronJobs

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// Only the chosen command is made: each registers its flags and feature gates for the whole process.
var components = map[string]func() *cobra.Command{
	"etcd":                    newEtcdCommand,
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllermanager.NewControllerManagerCommand,
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
}

func main() {
	if len(os.Args) < 2 || components[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "usage: control-plane etcd|kube-apiserver|kube-controller-manager|kube-scheduler|kubectl [flags]")
		os.Exit(2)
	}
	name := os.Args[1]
	os.Args = append([]string{name}, os.Args[2:]...)
	os.Exit(cli.Run(components[name]()))
}

// newEtcdCommand is an etcd of one member without TLS: whoever reaches its address may do everything.
func newEtcdCommand() *cobra.Command {
	var directory, client, peer string
	command := &cobra.Command{
		Use:          "etcd",
		Short:        "etcd with one member",
		Args:         cobra.NoArgs,
		SilenceUsage: true,
		RunE:         func(*cobra.Command, []string) error { return serveEtcd(directory, client, peer) },
	}
	command.Flags().StringVar(&directory, "data-dir", "", "folder of the data")
	command.Flags().StringVar(&client, "listen-client-urls", "http://127.0.0.1:2379", "where clients are answered")
	command.Flags().StringVar(&peer, "listen-peer-urls", "http://127.0.0.1:2380", "where other members would be answered")
	if err := command.MarkFlagRequired("data-dir"); err != nil {
		panic(err)
	}
	return command
}

func serveEtcd(directory, client, peer string) error {
	clientURL, err := url.Parse(client)
	if err != nil {
		return err
	}
	peerURL, err := url.Parse(peer)
	if err != nil {
		return err
	}
	config := embed.NewConfig()
	config.Dir = directory
	config.LogLevel = "error"
	config.UnsafeNoFsync = true // thrown away when the smoke test ends
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{*clientURL}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peerURL}, []url.URL{*peerURL}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	defer server.Close()
	asked := make(chan os.Signal, 1)
	signal.Notify(asked, syscall.SIGINT, syscall.SIGTERM)
	select {
	case <-asked:
		return nil
	case err := <-server.Err():
		return err
	}
}
