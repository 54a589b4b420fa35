//! Generates the stubs from proto/. GOOGLEAPIS names a folder with google/api/annotations.proto (a checkout of googleapis,
//! or where pip put googleapis-common-protos); by default that of this repository's .venv (`make setup`).

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

const PROTOS: [&str; 5] = ["auth", "common", "leaderboard", "score", "stream"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-env-changed=GOOGLEAPIS");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../..");
    let googleapis = match env::var("GOOGLEAPIS") {
        Ok(folder) => folder.into(),
        Err(_) => site_packages(root.join(".venv/lib"))?,
    };
    let protos = PROTOS.map(|name| root.join(format!("proto/scoreboard/v1/{name}.proto")));
    let includes = [root.join("proto"), googleapis, protoc_bin_vendored::include_path()?];
    let mut config = tonic_prost_build::Config::new();
    config.protoc_executable(protoc_bin_vendored::protoc_bin_path()?);
    tonic_prost_build::configure().build_server(false).compile_with_config(config, &protos, &includes)?;
    Ok(())
}

fn site_packages(lib: PathBuf) -> Result<PathBuf, Box<dyn Error>> {
    let missing = "no .venv here: run `make setup`, or name a checkout of googleapis by GOOGLEAPIS";
    let python = fs::read_dir(lib).map_err(|_| missing)?.next().ok_or(missing)??;
    Ok(python.path().join("site-packages"))
}
