package main

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	tryFor   = 10 * time.Second // one try
	waitMax  = 2 * time.Second
	waitFrom = 200 * time.Millisecond
)

// errPending stands for an answer that is none yet: the update is accepted and durable, but not counted so far.
var errPending = status.Error(codes.Unavailable, "PENDING")

// repeat makes a call that is safe to repeat until it is answered, refused, or ctx is over. Between tries it waits as
// long as the server asks for, and then at random up to a bound that doubles, so that clients do not come all at once.
func repeat[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	for bound := waitFrom; ; bound = min(2*bound, waitMax) {
		try, cancel := context.WithTimeout(ctx, tryFor)
		answer, err := call(try)
		cancel()
		if err == nil || !passes(err) {
			return answer, err
		}
		say("repeat", "reason", reason(err), "message", status.Convert(err).Message())
		select {
		case <-time.After(delay(err) + rand.N(bound)):
		case <-ctx.Done():
			return answer, err
		}
	}
}

// passes tells whether the same call may fare better a little later.
func passes(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.DeadlineExceeded:
		return true
	case codes.Internal, codes.Unknown, codes.Canceled: // without a reason the connection broke, not the call
		return reason(err) == ""
	default:
		return reason(err) == "QUEUE_FULL"
	}
}

// reason returns a name of ErrorReason without its prefix; empty when no server said one.
func reason(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			return info.Reason
		}
	}
	return ""
}

// delay returns how long the server asks to wait.
func delay(err error) time.Duration {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.RetryInfo); ok {
			return info.GetRetryDelay().AsDuration()
		}
	}
	return 0
}
