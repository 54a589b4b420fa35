//! Repeats calls that are safe to repeat.

use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Status};
use tonic_types::StatusExt;

const TRY_FOR: Duration = Duration::from_secs(10);
const WAIT_FROM: Duration = Duration::from_millis(200);
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Makes a call until it is answered, refused, or its time is over. Between tries it waits as long as the server asks for,
/// and then at random up to a bound that doubles, so that clients do not come all at once.
pub async fn repeat<T>(until: Instant, mut call: impl AsyncFnMut() -> Result<T, Status>) -> Result<T, Status> {
    let mut bound = WAIT_FROM;
    loop {
        let error = match timeout(TRY_FOR, call()).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) => error,
            Err(_) => Status::deadline_exceeded("No answer came in time."),
        };
        let wait = delay(&error) + bound.mul_f64(rand::random());
        if !passes(&error) || Instant::now() + wait > until {
            return Err(error);
        }
        println!("{}", json!({"step": "repeat", "reason": reason(&error), "message": error.message()}));
        sleep(wait).await;
        bound = WAIT_MAX.min(2 * bound);
    }
}

/// Stands for an answer that is none yet: the update is accepted and durable, but not counted so far.
pub fn pending() -> Status {
    Status::unavailable("PENDING")
}

/// Returns a name of ErrorReason without its prefix; empty when no server said one.
pub fn reason(error: &Status) -> String {
    error.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Tells whether the same call may fare better a little later.
fn passes(error: &Status) -> bool {
    match error.code() {
        Code::Unavailable | Code::DeadlineExceeded => true,
        // Without a reason the connection broke, not the call.
        Code::Internal | Code::Unknown | Code::Cancelled => reason(error).is_empty(),
        _ => reason(error) == "QUEUE_FULL",
    }
}

fn delay(error: &Status) -> Duration {
    error.get_details_retry_info().and_then(|info| info.retry_delay).unwrap_or_default()
}
