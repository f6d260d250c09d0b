// Package check holds the tests of what this folder ships for others to run:
// the image, docker-compose.yml, the Kubernetes manifests. None of them needs an
// engine or a cluster.
package check
