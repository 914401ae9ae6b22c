//go:build tools

package main

// The plugins of protoc, in the versions that go.mod names.
import (
	_ "google.golang.org/grpc/cmd/protoc-gen-go-grpc"
	_ "google.golang.org/protobuf/cmd/protoc-gen-go"
)
