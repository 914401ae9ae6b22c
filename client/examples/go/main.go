// Stores a small context, attends to it and compares the answers with ../vectors.json.
//
//	go run . [host:port]
package main

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	pb "alayadb.example/alaya/v1"
)

type vectors struct {
	Model struct {
		Name          string
		NumLayers     uint32 `json:"num_layers"`
		NumQueryHeads uint32 `json:"num_query_heads"`
		NumKvHeads    uint32 `json:"num_kv_heads"`
		HeadDim       uint32 `json:"head_dim"`
	}
	Alpha     float64
	Window    struct{ Sink, Recent uint32 }
	Tolerance float64
	Context   struct {
		Tokens []uint32
		Layers []struct{ Key, Value []float32 }
	}
	Step struct {
		Layers []struct {
			Query, Key, Value []float32
			Full, Dipr        answer
		}
	}
}

type answer struct {
	Output         []float64
	LogSumExp      []float64 `json:"log_sum_exp"`
	TokensAttended uint64    `json:"tokens_attended"`
}

func main() {
	log.SetFlags(0)
	address := "127.0.0.1:50600"
	if fromEnvironment := os.Getenv("ALAYADB_ADDRESS"); fromEnvironment != "" {
		address = fromEnvironment
	}
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	if err := run(address); err != nil {
		log.Fatal(err)
	}
	fmt.Println("ok: all numbers agree with vectors.json")
}

func run(address string) error {
	file, err := os.ReadFile("../vectors.json")
	if err != nil {
		return err
	}
	var v vectors
	if err := json.Unmarshal(file, &v); err != nil {
		return err
	}

	connection, err := grpc.Dial(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()

	model := &pb.Model{
		Name:          v.Model.Name,
		NumLayers:     v.Model.NumLayers,
		NumQueryHeads: v.Model.NumQueryHeads,
		NumKvHeads:    v.Model.NumKvHeads,
		HeadDim:       v.Model.HeadDim,
		Dtype:         pb.DType_DTYPE_F32,
	}
	admin := pb.NewAdminServiceClient(connection)
	if _, err := admin.RegisterModel(ctx, &pb.RegisterModelRequest{Model: model}); err != nil {
		return err
	}

	contexts := pb.NewContextServiceClient(connection)
	contextID, err := importContext(ctx, contexts, &v)
	if err != nil {
		return fmt.Errorf("import: %w", err)
	}
	if err := attend(ctx, pb.NewSessionServiceClient(connection), &v, contextID); err != nil {
		return fmt.Errorf("attend: %w", err)
	}

	list, err := contexts.ListContexts(ctx, &pb.ListContextsRequest{Model: &v.Model.Name})
	if err != nil {
		return err
	}
	if !contains(list.Contexts, contextID) {
		return fmt.Errorf("context %s is not listed", contextID)
	}
	_, err = contexts.DeleteContext(ctx, &pb.DeleteContextRequest{ContextId: contextID})
	return err
}

// importContext sends the header, then the keys and values of each layer. Long contexts send chunks
// of about 1 MiB.
func importContext(ctx context.Context, contexts pb.ContextServiceClient, v *vectors) (string, error) {
	stream, err := contexts.ImportContext(ctx)
	if err != nil {
		return "", err
	}
	requests := []*pb.ImportContextRequest{{
		Part: &pb.ImportContextRequest_Header_{Header: &pb.ImportContextRequest_Header{
			Model:  v.Model.Name,
			Tokens: v.Context.Tokens,
		}},
	}}
	for layer, kv := range v.Context.Layers {
		requests = append(requests, &pb.ImportContextRequest{
			Part: &pb.ImportContextRequest_Chunk_{Chunk: &pb.ImportContextRequest_Chunk{
				Layer: uint32(layer),
				Key:   v.tensor(kv.Key, v.Model.NumKvHeads),
				Value: v.tensor(kv.Value, v.Model.NumKvHeads),
			}},
		})
	}
	for _, request := range requests {
		// io.EOF: the server refused; CloseAndRecv says why.
		if err := stream.Send(request); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return "", err
		}
	}
	response, err := stream.CloseAndRecv()
	return response.GetContextId(), err
}

// attend decodes one token: a request per layer, each asked twice, for exact and for DIPR attention.
func attend(ctx context.Context, sessions pb.SessionServiceClient, v *vectors, contextID string) error {
	session, err := sessions.CreateSession(ctx, &pb.CreateSessionRequest{
		Model:     v.Model.Name,
		ContextId: contextID,
	})
	if err != nil {
		return err
	}
	fmt.Printf("session on %d stored tokens\n", session.ReusedTokens)

	window := &pb.Window{Sink: v.Window.Sink, Recent: v.Window.Recent}
	full := &pb.AttendOptions{
		Target: &pb.AttendOptions_Full{Full: &pb.FullTarget{}},
		Window: window,
	}
	dipr := &pb.AttendOptions{
		Target:       &pb.AttendOptions_Dipr{Dipr: &pb.DiprTarget{Alpha: v.Alpha}},
		Window:       window,
		TailEstimate: proto.Bool(false),
	}

	stream, err := sessions.Attend(ctx)
	if err != nil {
		return err
	}
	for layer, step := range v.Step.Layers {
		query := v.tensor(step.Query, v.Model.NumQueryHeads)
		err := stream.Send(&pb.AttendRequest{
			RequestId: uint64(layer),
			Items: []*pb.AttendItem{
				// This item appends the new token's key and value; the next one sees them too.
				{
					SessionId: session.SessionId,
					Layer:     uint32(layer),
					Query:     query,
					Key:       v.tensor(step.Key, v.Model.NumKvHeads),
					Value:     v.tensor(step.Value, v.Model.NumKvHeads),
					Options:   full,
				},
				{
					SessionId: session.SessionId,
					Layer:     uint32(layer),
					Query:     query,
					Options:   dipr,
				},
			},
		})
		if err != nil {
			return err
		}
		response, err := stream.Recv()
		if err != nil {
			return err
		}
		for i, expected := range []answer{step.Full, step.Dipr} {
			what := fmt.Sprintf("layer %d %s", layer, []string{"full", "dipr"}[i])
			if err := check(response.Results[i], expected, v.Tolerance); err != nil {
				return fmt.Errorf("%s: %w", what, err)
			}
			fmt.Printf("%s: %d tokens attended\n", what, expected.TokensAttended)
		}
	}
	if err := stream.CloseSend(); err != nil {
		return err
	}
	_, err = sessions.CloseSession(ctx, &pb.CloseSessionRequest{SessionId: session.SessionId})
	return err
}

func check(result *pb.AttendResult, expected answer, tolerance float64) error {
	if result.Status.GetCode() != 0 {
		return errors.New(result.Status.GetMessage())
	}
	if attended := result.Stats.TokensAttended; attended != expected.TokensAttended {
		return fmt.Errorf("%d tokens attended, expected %d", attended, expected.TokensAttended)
	}
	if err := near(result.Output, expected.Output, tolerance); err != nil {
		return fmt.Errorf("output %w", err)
	}
	if err := near(result.LogSumExp, expected.LogSumExp, tolerance); err != nil {
		return fmt.Errorf("log_sum_exp %w", err)
	}
	return nil
}

func near(actual *pb.Tensor, expected []float64, tolerance float64) error {
	if len(actual.Data) != 4*len(expected) {
		return fmt.Errorf("has %d bytes for %d elements", len(actual.Data), len(expected))
	}
	for i, want := range expected {
		got := float64(math.Float32frombits(binary.LittleEndian.Uint32(actual.Data[4*i:])))
		if !(math.Abs(got-want) <= tolerance) { // false for NaN
			return fmt.Errorf("[%d] is %g, expected %g", i, got, want)
		}
	}
	return nil
}

// tensor is [tokens, heads, head_dim]; the number of tokens follows from the number of elements.
func (v *vectors) tensor(numbers []float32, heads uint32) *pb.Tensor {
	data := make([]byte, 0, 4*len(numbers))
	for _, number := range numbers {
		data = binary.LittleEndian.AppendUint32(data, math.Float32bits(number))
	}
	tokens := len(numbers) / int(heads*v.Model.HeadDim)
	return &pb.Tensor{
		Dtype: pb.DType_DTYPE_F32,
		Shape: []int64{int64(tokens), int64(heads), int64(v.Model.HeadDim)},
		Data:  data,
	}
}

func contains(contexts []*pb.Context, contextID string) bool {
	for _, c := range contexts {
		if c.ContextId == contextID {
			return true
		}
	}
	return false
}
