// Plays one action on a scoreboard, and prints a line of JSON for each step:
//
//	SCOREBOARD_PASSWORD='correct horse battery' go run . 127.0.0.1:8080 ada win-round
package main

//go:generate ./generate.sh

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	pb "scoreboard.example/play/scoreboardv1"
)

const deadline = 60 * time.Second // of the whole play; a nonce lives for 5 minutes

func main() {
	password := os.Getenv("SCOREBOARD_PASSWORD")
	if len(os.Args) != 4 || password == "" {
		fmt.Fprintln(os.Stderr, "usage: SCOREBOARD_PASSWORD=... play HOST:PORT USERNAME ACTION")
		os.Exit(2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	if err := play(ctx, os.Args[1], os.Args[2], password, os.Args[3]); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %s\n", reason(err), status.Convert(err).Message())
		os.Exit(1)
	}
}

func play(ctx context.Context, target, username, password, action string) error {
	// Behind TLS: credentials.NewTLS(nil) instead.
	channel, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer channel.Close()

	player, err := signIn(ctx, channel, username, password)
	if err != nil {
		return err
	}
	if err := player.listBoards(ctx); err != nil {
		return err
	}
	nonce := player.nonce()
	say("nonce", "nonce", nonce)
	update, err := player.score(ctx, action, nonce)
	if err != nil {
		return err
	}
	sayUpdate("score", update)
	// The first answer might have been lost: asking again with the same nonce gets it again, and counts nothing.
	if update, err = player.score(ctx, action, nonce); err != nil {
		return err
	}
	sayUpdate("again", update)
	if err := player.refresh(ctx); err != nil {
		return err
	}
	if err := player.watch(ctx, update.GetNewScore()); err != nil {
		return err
	}
	return player.logout(ctx)
}

// player is a session at a gateway.
type player struct {
	channel *grpc.ClientConn
	session *pb.Session
	key     []byte
	since   time.Time // when the session came, by this machine's clock
}

// signIn registers, or logs in where the name is there already. A registration is not repeated.
func signIn(ctx context.Context, channel *grpc.ClientConn, username, password string) (*player, error) {
	auth := pb.NewAuthServiceClient(channel)
	step := "register"
	session, err := auth.Register(ctx, &pb.RegisterRequest{Username: username, Password: password})
	if status.Code(err) == codes.AlreadyExists {
		step = "login"
		session, err = repeat(ctx, func(ctx context.Context) (*pb.Session, error) {
			return auth.Login(ctx, &pb.LoginRequest{Username: username, Password: password})
		})
	}
	if err != nil {
		return nil, err
	}
	key, err := base64.RawURLEncoding.DecodeString(session.SigningKey)
	if err != nil {
		return nil, err
	}
	say(step, "user_id", session.UserId)
	return &player{channel, session, key, time.Now()}, nil
}

func (p *player) listBoards(ctx context.Context) error {
	boards := pb.NewLeaderboardServiceClient(p.channel)
	list, err := repeat(ctx, func(ctx context.Context) (*pb.ListBoardsResponse, error) {
		return boards.ListBoards(ctx, &pb.ListBoardsRequest{})
	})
	names := []string{}
	for _, board := range list.GetBoards() {
		names = append(names, board.Name)
	}
	if err == nil {
		say("boards", "names", names)
	}
	return err
}

// nonce makes one by the server's clock: this machine's own may be wrong.
func (p *player) nonce() string {
	var chance [10]byte
	rand.Read(chance[:])
	return clientNonce(int64(p.session.ServerTime)+time.Since(p.since).Milliseconds(), chance)
}

// score counts an action, once for each nonce however often it is sent.
func (p *player) score(ctx context.Context, action, nonce string) (*pb.UpdateScoreResponse, error) {
	scores := pb.NewScoreServiceClient(p.channel)
	request := &pb.UpdateScoreRequest{UserId: p.session.UserId, ActionId: action, Nonce: nonce}
	signature := signUpdate(p.key, request.UserId, action, nonce)
	return repeat(ctx, func(ctx context.Context) (*pb.UpdateScoreResponse, error) {
		update, err := scores.UpdateScore(p.bearer(ctx, "x-signature", signature), request)
		if err == nil && update.Status == pb.UpdateStatus_PENDING {
			err = errPending
		}
		return update, err
	})
}

// refresh renews the tokens. It is signed, so that a repeat gets the same new ones instead of ending the session.
func (p *player) refresh(ctx context.Context) error {
	auth := pb.NewAuthServiceClient(p.channel)
	token := p.session.RefreshToken
	session, err := repeat(ctx, func(ctx context.Context) (*pb.Session, error) {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-signature", signRefresh(p.key, token))
		return auth.Refresh(ctx, &pb.RefreshRequest{RefreshToken: token})
	})
	if err != nil {
		return err
	}
	p.session, p.since = session, time.Now()
	say("refresh", "expires_in", session.ExpiresIn)
	return nil
}

// watch reads the live board until it shows the player with this score. A stream that breaks is opened again.
func (p *player) watch(ctx context.Context, score float64) error {
	stream := pb.NewStreamServiceClient(p.channel)
	shown, err := repeat(ctx, func(ctx context.Context) (*pb.LeaderboardUpdate, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel() // ends the stream
		frames, err := stream.WatchLeaderboard(p.bearer(ctx), &pb.WatchLeaderboardRequest{Me: true})
		for err == nil {
			var frame *pb.LeaderboardUpdate
			if frame, err = frames.Recv(); err == nil && frame.GetMe().GetScore() >= score {
				return frame, nil
			}
		}
		return nil, err
	})
	if err == nil {
		say("watch", "version", shown.Version, "rank", shown.Me.Rank, "score", shown.Me.Score)
	}
	return err
}

func (p *player) logout(ctx context.Context) error {
	auth := pb.NewAuthServiceClient(p.channel)
	done, err := repeat(ctx, func(ctx context.Context) (*pb.LogoutResponse, error) {
		return auth.Logout(ctx, &pb.LogoutRequest{RefreshToken: p.session.RefreshToken})
	})
	if err == nil {
		say("logout", "success", done.Success)
	}
	return err
}

func (p *player) bearer(ctx context.Context, more ...string) context.Context {
	pairs := append([]string{"authorization", "Bearer " + p.session.AccessToken}, more...)
	return metadata.AppendToOutgoingContext(ctx, pairs...)
}

func sayUpdate(step string, update *pb.UpdateScoreResponse) {
	say(step, "status", update.Status.String(), "new_score", update.GetNewScore(), "update_id", update.UpdateId)
}

// say prints a step and its values, given as pairs of name and value.
func say(step string, pairs ...any) {
	line := map[string]any{"step": step}
	for i := 0; i < len(pairs); i += 2 {
		line[pairs[i].(string)] = pairs[i+1]
	}
	text, err := json.Marshal(line)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(text))
}
