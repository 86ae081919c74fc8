"""Makes a table of zae-limiter in the DynamoDB at a URL, with a bit of all that
it can say, and prints as JSON which limits apply in it, as the library resolves
them. Called as original.py URL TABLE.
"""

import asyncio
import json
import sys
from datetime import timedelta

from zae_limiter import Limit, Repository, ScheduleEntry, __version__
from zae_limiter.models import effective_cascade
from zae_limiter.version import CURRENT_SCHEMA_VERSION

URL, TABLE = sys.argv[1], sys.argv[2]
AT = {"region": "us-east-1", "endpoint_url": URL}
BY = {"principal": "test"}

ENTITIES = [
    "acme", "team", "user-1", "user-2", "user:3@x", "flags", "override", "bare", "quotas", "deep", "nobody",
    "cascade-by-default", "cascade-by-resource", "defaulted", "switched", "bypassed",
    "below-switched",
]
RESOURCES = ["gpt-4", "api", "v1/orders:list", "off", "free", "scheduled", "unheard-of"]


async def fill_default(r):
    await r.set_system_defaults(
        [Limit.per_minute("rpm", 100), Limit.custom("tpm", capacity=15000, refill_amount=10000, refill_period_seconds=60)],
        on_unavailable="allow", **BY)
    await r.set_resource_defaults("gpt-4", [Limit.per_minute("rpm", 50), Limit.per_day("daily.cap", 5000)], **BY)
    await r.set_resource_defaults("v1/orders:list", [Limit.per_second("rps", 7)], **BY)
    await r.set_resource_defaults(
        "scheduled", [Limit.per_hour("rph", 60).with_schedule((ScheduleEntry(cron="* 0-6 * * *", tz="UTC", scale=0.5),))], **BY)
    await r.disable_resource("off", **BY)
    await r.bypass_resource("free", **BY)

    await r.create_entity("acme", name="Acme & Co", metadata={"crm": "42", "note": ""}, **BY)
    await r.set_limits("acme", [Limit.per_minute("rpm", 5000)], **BY)
    await r.create_entity("team", parent_id="acme", cascade=True, **BY)
    await r.set_limits("team", [Limit.per_minute("rpm", 900)], resource="gpt-4", **BY)
    await r.create_entity("user-1", parent_id="team", cascade=True, **BY)
    await r.set_limits("user-1", [Limit.per_minute("rpm", 700), Limit.custom("tpm", 9, 4, 86400 * 7)], resource="gpt-4", **BY)
    await r.set_limits("user-1", [Limit.per_hour("rph", 3)], **BY)
    await r.create_entity("user-2", parent_id="acme", cascade=False, **BY)
    # Of these the table has limits and no more: they were never created.
    await r.set_limits("user:3@x", [Limit.per_minute("rpm", 3)], resource="v1/orders:list", **BY)
    await r.set_limits("override", [Limit.per_minute("rpm", 1)], disabled=True, **BY)
    await r.enable_entity("override", resource="off", **BY)
    await r.set_limits("defaulted", [Limit.per_minute("a_cp", 5), Limit.per_minute("a", 6)], **BY)
    await r.disable_entity("switched", **BY)
    await r.enable_entity("switched", resource="api", **BY)
    await r.bypass_entity("switched", resource="gpt-4", **BY)
    await r.create_entity("below-switched", parent_id="switched", cascade=True, **BY)
    await r.bypass_entity("bypassed", **BY)
    await r.enable_entity("flags", **BY)
    await r.create_entity("bare", **BY)
    await r.create_entity("cascade-by-default", parent_id="acme", cascade=False, **BY)
    await r.set_entity_cascade("cascade-by-default", True, **BY)
    await r.create_entity("cascade-by-resource", parent_id="acme", cascade=False, **BY)
    await r.set_entity_cascade("cascade-by-resource", True, resource="api", **BY)
    await r.create_entity("deep", parent_id="user-1", cascade=True, **BY)
    await r.set_limits("quotas", [
        Limit.per_minute("rpm", 8),
        Limit.quota("daily", 1000, cron="0 0 * * *"),
        Limit.quota("session", 50, reset_after=timedelta(hours=5)),
        Limit("soft", 10, 10, 60, soft=True),
    ], resource="api", **BY)
    await r.set_limits("quotas", [Limit.quota("daily", 7, cron="0 0 * * *")], resource="gpt-4", **BY)


async def fill_tenant(r):
    """The same names, other limits, and no system level."""
    await r.set_resource_defaults("api", [Limit.per_minute("rpm", 2)], **BY)
    await r.set_limits("acme", [Limit.per_minute("rpm", 4)], **BY)
    await r.create_entity("team", parent_id="acme", cascade=True, **BY)


async def answers(r):
    found = []
    for entity in ENTITIES:
        meta = await r.get_entity(entity, consistent_read=True)
        for resource in RESOURCES:
            limits, _, level = await r.resolve_limits(entity, resource)
            access = await r.resolve_access(entity, resource, consistent_read=True)
            parent = meta.parent_id if meta and effective_cascade(access.cascade, meta) else None
            found.append({
                "entity": entity, "resource": resource, "level": level or "none",
                "limits": [limit.to_dict() for limit in limits or []],
                "mode": "bypass" if access.bypass else "disabled" if access.disabled else "on",
                "mode_level": access.disabled_level or "none", "parent": parent or "",
                "metadata": meta.metadata if meta else {},
            })
    return found


async def main():
    r = Repository(TABLE, **AT)
    await r.create_table()
    # As after a deployment: without its Lambda it refuses bypass and soft limits.
    await r.set_version_record(CURRENT_SCHEMA_VERSION, lambda_version=__version__)
    await r.close()
    said = {}
    for name, fill in [("default", fill_default), ("tenant-b", fill_tenant), ("with space", None), ("empty", None), ("gone", fill_tenant)]:
        r = await Repository.open(name, stack=TABLE, config_cache_ttl=0, **AT)
        if fill:
            await fill(r)
        if name == "gone":
            await r.delete_namespace(name)
        elif fill:
            said[name] = {"on_unavailable": await r.resolve_on_unavailable(), "answers": await answers(r)}
        await r.close()
    print(json.dumps(said))


asyncio.run(main())
