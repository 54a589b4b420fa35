"""Plays at once as a guest, becomes an account, changes the password, leaves: `python examples/account.py [GATEWAY]`.

Prints, for example:

    Guest 4F7Q plays
    u_3f9a is now eve-77a2, and has 51
    eve-77a2 is gone
"""

import asyncio
import secrets
import sys

from scoreboard.client import Client, Profile


async def main(gateway: str) -> None:
    """Goes the way of a player."""
    async with Client(gateway) as client:
        await client.guest()
        update = await client.score("win-round")
        print(f"{update.username} plays")

        name, first, second = f"eve-{secrets.token_hex(2)}", secrets.token_urlsafe(), secrets.token_urlsafe()
        profile: Profile = await client.update_profile(name, new_password=first)
        await client.update_profile(password=first, new_password=second)

    async with Client(gateway) as another_device:
        await another_device.login(name, second)
        update = await another_device.score("collect-coin")
        print(f"{profile.user_id} is now {profile.username}, and has {update.new_score}")
        await another_device.delete_account(second)
        print(f"{name} is gone")


if __name__ == "__main__":
    asyncio.run(main((sys.argv[1:] or ["127.0.0.1:8080"])[0]))
