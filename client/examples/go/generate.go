package main

//go:generate go build -o build/ google.golang.org/protobuf/cmd/protoc-gen-go google.golang.org/grpc/cmd/protoc-gen-go-grpc
//go:generate protoc -I ../../../proto --plugin=build/protoc-gen-go --plugin=build/protoc-gen-go-grpc --go_out=. --go-grpc_out=. alaya/v1/tensor.proto alaya/v1/model.proto alaya/v1/attention.proto alaya/v1/context_service.proto alaya/v1/session_service.proto alaya/v1/admin_service.proto
