/** Signs players up, in and out. */

import { useEffect, useRef, useState } from "preact/hooks";
import type { Player } from "scoreboard-client";
import { client } from "./hooks";
import { Refused, type Said } from "./refused";

type Way = "register" | "login" | "guest" | "keep";

const WAYS: Readonly<Record<Way, { title: string; does: string; hint: string }>> = {
  register: { title: "Sign up", does: "Sign up", hint: "At least 8 characters. There is no other way back in." },
  login: { title: "Log in", does: "Log in", hint: "" },
  guest: { title: "Play as a guest", does: "Play", hint: "A guest lives in this browser alone, until you keep it." },
  keep: {
    title: "Keep this player",
    does: "Keep",
    hint: "At least 8 characters. With name and password you get back in, in any browser.",
  },
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
  if (player !== null && way !== "keep") {
    return <SignedIn player={player} isFresh={isFresh || way !== undefined} keep={() => choose("keep")} />;
  }
  if (player !== null || (way !== undefined && way !== "keep")) {
    return <Form key={way} way={way ?? "keep"} name={player?.username ?? ""} leave={choose} done={done} />;
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
function SignedIn({ player, isFresh, keep }: { player: Player; isFresh: boolean; keep: () => void }) {
  const words = useRef<HTMLParagraphElement>(null);
  useEffect(() => (isFresh ? words.current?.focus() : undefined), []);
  const [said, setSaid] = useState<Said>();
  const leave = () => client.logout().catch((error: unknown) => setSaid({ error, atMs: Date.now() }));
  return (
    <div class="signed-in">
      <p ref={words} tabIndex={-1}>
        Playing as <bdi class="strong">{player.username === "" ? "a guest" : player.username}</bdi>
      </p>
      {player.isGuest && (
        <button type="button" class="link" onClick={keep}>
          {WAYS.keep.title}
        </button>
      )}
      <button type="button" class="link" onClick={leave}>
        Log out
      </button>
      {said !== undefined && <Refused said={said} />}
    </div>
  );
}

/** Brings the keyboard to the first field of a form that was just opened. */
const focusFirst = (form: HTMLFormElement | null) => form?.querySelector("input")?.focus();

interface FormProps {
  way: Way;
  /** What the player is called so far. */
  name: string;
  leave: () => void;
  done: () => void;
}

function Form({ way, name, leave, done }: FormProps) {
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
      <Fields way={way} name={name} />
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

function Fields({ way, name }: { way: Way; name: string }) {
  const { hint } = WAYS[way];
  return (
    <>
      <label>
        {way === "guest" ? "Name (may stay empty)" : "Name"}
        <input
          name="username"
          defaultValue={name}
          autocomplete="username"
          maxLength={100}
          required={way !== "guest"}
          spellcheck={false}
        />
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

function Password({ way }: { way: "register" | "login" | "keep" }) {
  const isNew = way !== "login";
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
  } else if (way === "keep") {
    await client.updateProfile({ username, newPassword: password });
  } else {
    await client[way](username, password);
  }
}
