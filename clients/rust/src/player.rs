//! A session at a gateway.

use std::error::Error;

use serde_json::json;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::pb::auth_service_client::AuthServiceClient;
use crate::pb::leaderboard_service_client::LeaderboardServiceClient;
use crate::pb::score_service_client::ScoreServiceClient;
use crate::pb::stream_service_client::StreamServiceClient;
use crate::pb::{
    ListBoardsRequest, LoginRequest, LogoutRequest, RefreshRequest, RegisterRequest, Session, UpdateScoreRequest,
    UpdateScoreResponse, UpdateStatus, WatchLeaderboardRequest,
};
use crate::repeat::{pending, repeat};
use crate::signing;

pub struct Player {
    channel: Channel,
    until: Instant,
    session: Session,
    key: Vec<u8>,
    since: Instant, // when the session came, by this machine's clock
}

impl Player {
    /// Registers, or logs in where the name is there already. A registration is not repeated.
    pub async fn sign_in(
        channel: Channel,
        until: Instant,
        username: &str,
        password: &str,
    ) -> Result<Self, Box<dyn Error>> {
        let auth = AuthServiceClient::new(channel.clone());
        let request = RegisterRequest { username: username.into(), password: password.into() };
        let (step, session) = match auth.clone().register(request).await {
            Err(error) if error.code() == Code::AlreadyExists => {
                let request = LoginRequest { username: username.into(), password: password.into() };
                ("login", repeat(until, async || auth.clone().login(request.clone()).await).await?)
            }
            answer => ("register", answer?),
        };
        let (session, since) = (session.into_inner(), Instant::now());
        println!("{}", json!({"step": step, "user_id": session.user_id}));
        let key = signing::decode_key(&session.signing_key)?;
        Ok(Self { channel, until, session, key, since })
    }

    pub async fn list_boards(&self) -> Result<(), Status> {
        let boards = LeaderboardServiceClient::new(self.channel.clone());
        let list = repeat(self.until, async || boards.clone().list_boards(ListBoardsRequest {}).await).await?;
        let names: Vec<String> = list.into_inner().boards.into_iter().map(|board| board.name).collect();
        println!("{}", json!({"step": "boards", "names": names}));
        Ok(())
    }

    /// Makes a nonce by the server's clock: this machine's own may be wrong.
    pub fn nonce(&self) -> String {
        let now_ms = self.session.server_time as u64 + self.since.elapsed().as_millis() as u64;
        signing::client_nonce(now_ms, &rand::random())
    }

    /// Counts an action, once for each nonce however often it is sent.
    pub async fn score(&self, action: &str, nonce: &str) -> Result<UpdateScoreResponse, Status> {
        let scores = ScoreServiceClient::new(self.channel.clone());
        let signature = signing::sign_update(&self.key, &self.session.user_id, action, nonce);
        let update = UpdateScoreRequest {
            user_id: self.session.user_id.clone(),
            action_id: action.into(),
            nonce: nonce.into(),
            value: None,
        };
        repeat(self.until, async || {
            let mut request = signed(update.clone(), &signature);
            request.metadata_mut().insert("authorization", self.bearer());
            let answer = scores.clone().update_score(request).await?.into_inner();
            if answer.status() == UpdateStatus::Pending { Err(pending()) } else { Ok(answer) }
        })
        .await
    }

    /// Renews the tokens. It is signed, so that a repeat gets the same new ones instead of ending the session.
    pub async fn refresh(&mut self) -> Result<(), Status> {
        let auth = AuthServiceClient::new(self.channel.clone());
        let refresh = RefreshRequest { refresh_token: self.session.refresh_token.clone() };
        let signature = signing::sign_refresh(&self.key, &refresh.refresh_token);
        let session =
            repeat(self.until, async || auth.clone().refresh(signed(refresh.clone(), &signature)).await).await?;
        (self.session, self.since) = (session.into_inner(), Instant::now());
        println!("{}", json!({"step": "refresh", "expires_in": self.session.expires_in}));
        Ok(())
    }

    /// Reads the live board until it shows the player with this score. A stream that breaks is opened again.
    pub async fn watch(&self, score: f64) -> Result<(), Status> {
        let stream = StreamServiceClient::new(self.channel.clone());
        let (version, me) = repeat(self.until, async || {
            let mut request = Request::new(WatchLeaderboardRequest { me: true, ..Default::default() });
            request.metadata_mut().insert("authorization", self.bearer());
            let mut frames = stream.clone().watch_leaderboard(request).await?.into_inner();
            while let Some(frame) = frames.message().await? {
                match frame.me {
                    Some(me) if me.score >= score => return Ok((frame.version, me)),
                    _ => {}
                }
            }
            Err(Status::unavailable("The stream ended."))
        })
        .await?;
        let line = json!({"step": "watch", "version": version as i64, "rank": me.rank, "score": me.score as i64});
        println!("{line}");
        Ok(())
    }

    pub async fn logout(&self) -> Result<(), Status> {
        let auth = AuthServiceClient::new(self.channel.clone());
        let request = LogoutRequest { refresh_token: self.session.refresh_token.clone() };
        let done = repeat(self.until, async || auth.clone().logout(request.clone()).await).await?;
        println!("{}", json!({"step": "logout", "success": done.into_inner().success}));
        Ok(())
    }

    fn bearer(&self) -> MetadataValue<Ascii> {
        format!("Bearer {}", self.session.access_token).parse().expect("a token is ASCII")
    }
}

fn signed<T>(message: T, signature: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-signature", signature.parse().expect("a signature is ASCII"));
    request
}
