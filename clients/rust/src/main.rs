//! Plays one action on a scoreboard, and prints a line of JSON for each step:
//!
//!     SCOREBOARD_PASSWORD='correct horse battery' cargo run -- 127.0.0.1:8080 ada win-round

mod player;
mod repeat;
mod signing;

use std::env;
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use tonic::Status;
use tonic::transport::Endpoint;

use pb::UpdateScoreResponse;
use player::Player;

pub mod pb {
    tonic::include_proto!("scoreboard.v1");
}

const DEADLINE: Duration = Duration::from_secs(60); // of the whole play; a nonce lives for 5 minutes

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let ([target, username, action], Ok(password)) = (&arguments[..], env::var("SCOREBOARD_PASSWORD")) else {
        eprintln!("usage: SCOREBOARD_PASSWORD=... play HOST:PORT USERNAME ACTION");
        return ExitCode::from(2);
    };
    let Err(error) = play(target, username, &password, action).await else {
        return ExitCode::SUCCESS;
    };
    match error.downcast_ref::<Status>() {
        Some(status) => eprintln!("{}: {}", repeat::reason(status), status.message()),
        None => eprintln!("{error}"),
    }
    ExitCode::FAILURE
}

async fn play(target: &str, username: &str, password: &str, action: &str) -> Result<(), Box<dyn Error>> {
    // Behind TLS: https, and tonic's feature tls-webpki-roots.
    let channel = Endpoint::from_shared(format!("http://{target}"))?.connect_lazy();
    let mut player = Player::sign_in(channel, Instant::now() + DEADLINE, username, password).await?;
    player.list_boards().await?;
    let nonce = player.nonce();
    println!("{}", json!({"step": "nonce", "nonce": nonce}));
    say_update("score", &player.score(action, &nonce).await?);
    // The first answer might have been lost: asking again with the same nonce gets it again, and counts nothing.
    let update = player.score(action, &nonce).await?;
    say_update("again", &update);
    player.refresh().await?;
    player.watch(update.new_score()).await?;
    player.logout().await?;
    Ok(())
}

fn say_update(step: &str, update: &UpdateScoreResponse) {
    let (status, score) = (update.status().as_str_name(), update.new_score() as i64);
    println!("{}", json!({"step": step, "status": status, "new_score": score, "update_id": update.update_id}));
}
