/** Signs players up, in and out. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Player } from "scoreboard-client";
import { client } from "./hooks";
import { Refused, type Said } from "./refused";

type Way = "register" | "login" | "guest";

const WAYS: Readonly<Record<Way, { title: string; does: string; hint: string }>> = {
  register: { title: "Sign up", does: "Sign up", hint: "At least 8 characters. There is no other way back in." },
  login: { title: "Log in", does: "Log in", hint: "" },
  guest: { title: "Play as a guest", does: "Play", hint: "A guest lives in this browser alone." },
};

export function Account({ player }: { player: Player | null | undefined }) {
  const [way, setWay] = useState<Way>();
  const [isFresh, setFresh] = useState(false);
  const choose = (next?: Way) => {
    setWay(next);
    setFresh(false);
  };
  const done = () => {
    setWay(undefined);
    setFresh(true);
  };
  if (player === undefined) {
    return <p class="quiet">Looking for your session…</p>;
  }
  if (player !== null) {
    return <SignedIn player={player} isFresh={isFresh || way !== undefined} />;
  }
  if (way !== undefined) {
    return <Form key={way} way={way} leave={choose} done={done} />;
  }
  return (
    <div class="ways">
      <p>Everybody may watch. To score, you need a name.</p>
      {(["register", "login", "guest"] as const).map((one) => (
        <button type="button" key={one} class={one === "register" ? "main" : ""} onClick={() => choose(one)}>
          {WAYS[one].title}
        </button>
      ))}
    </div>
  );
}

/** isFresh: the form that the keyboard was in has just gone. */
function SignedIn({ player, isFresh }: { player: Player; isFresh: boolean }) {
  const words = useRef<HTMLParagraphElement>(null);
  useEffect(() => (isFresh ? words.current?.focus() : undefined), []);
  const [said, setSaid] = useState<Said>();
  const leave = () => client.logout().catch((error: unknown) => setSaid({ error, atMs: Date.now() }));
  return (
    <div class="signed-in">
      <p ref={words} tabIndex={-1}>
        Playing as <bdi class="strong">{player.username === "" ? "a guest" : player.username}</bdi>
      </p>
      <button type="button" class="link" onClick={leave}>
        Log out
      </button>
      {said !== undefined && <Refused said={said} />}
    </div>
  );
}

/** Brings the keyboard to the first field of a form that was just opened. */
const focusFirst = (form: HTMLFormElement | null) => form?.querySelector("input")?.focus();

function Form({ way, leave, done }: { way: Way; leave: () => void; done: () => void }) {
  const [said, setSaid] = useState<Said>();
  const [isBusy, setBusy] = useState(false);
  const { title, does } = WAYS[way];
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    if (isBusy) {
      return;
    }
    const fields = new FormData(event.currentTarget as HTMLFormElement);
    setBusy(true);
    setSaid(undefined);
    try {
      await signIn(way, String(fields.get("username")).trim(), String(fields.get("password") ?? ""));
      done();
    } catch (error) {
      setSaid({ error, atMs: Date.now() });
      setBusy(false);
    }
  };
  return (
    <form class="account" onSubmit={submit} ref={focusFirst} aria-labelledby="account-title">
      <h3 id="account-title">{title}</h3>
      <Fields way={way} />
      {said !== undefined && <Refused said={said} />}
      <div class="buttons">
        <button type="submit" class="main" aria-disabled={isBusy}>
          {isBusy ? "One moment…" : does}
        </button>
        <button type="button" onClick={() => leave()}>
          Back
        </button>
      </div>
    </form>
  );
}

function Fields({ way }: { way: Way }) {
  const { hint } = WAYS[way];
  return (
    <>
      <label>
        {way === "guest" ? "Name (may stay empty)" : "Name"}
        <input name="username" autocomplete="username" maxLength={100} required={way !== "guest"} spellcheck={false} />
      </label>
      {way !== "guest" && <Password way={way} />}
      {hint !== "" && (
        <p class="quiet" id="account-hint">
          {hint}
        </p>
      )}
    </>
  );
}

function Password({ way }: { way: "register" | "login" }) {
  const isNew = way === "register";
  return (
    <label>
      Password
      <input
        name="password"
        type="password"
        autocomplete={isNew ? "new-password" : "current-password"}
        minLength={isNew ? 8 : 1}
        maxLength={128}
        required
        aria-describedby={isNew ? "account-hint" : undefined}
      />
    </label>
  );
}

async function signIn(way: Way, username: string, password: string): Promise<void> {
  if (way === "guest") {
    await client.guest(username);
  } else {
    await client[way](username, password);
  }
}
