"""What ElastiCache Serverless refuses, as rules of users.

The list is that of "Supported and restricted Valkey, Memcached, and Redis OSS commands" in the
ElastiCache user guide: what no ElastiCache server offers, and what Serverless does not offer in
addition. https://docs.aws.amazon.com/AmazonElastiCache/latest/dg/SupportedCommands.html
"""

from .releases import Release

RESTRICTED = """
acl|setuser acl|load acl|save acl|deluser bgrewriteaof bgsave cluster|addslots cluster|addslotsrange
cluster|bumpepoch cluster|delslots cluster|delslotsrange cluster|failover cluster|flushslots
cluster|forget cluster|links cluster|meet cluster|setslot config debug migrate psync replicaof save
slaveof shutdown sync
acl|log client|caching client|getredir client|id client|info client|kill client|list client|no-evict
client|pause client|tracking client|trackinginfo client|unblock client|unpause
cluster|count-failure-reports commandlog fcall fcall_ro function keys lastsave latency memory
monitor
move object pfdebug pfselftest psubscribe punsubscribe pubsub|numpat script|kill slowlog swapdb wait
select
"""
#: Not in Redis OSS. Rules that name no command, as older releases see these, are errors.
OF_VALKEY = {"commandlog"}
#: Not in Redis 6.2, whose rules cannot refuse single subcommands either.
SINCE_7 = {"fcall", "fcall_ro", "function"}

NAME = PASSWORD = "administrator"
#: The rule of the user who may do all.
ADMINISTRATOR = f"{NAME} on >{PASSWORD} ~* &* +@all"


def refused(release: Release) -> list[str]:
    """Return the commands that Serverless refuses, of those that a release's rules can name."""
    match release:
        case "redis-6.2":
            unknown = {name for name in RESTRICTED.split() if "|" in name} | OF_VALKEY | SINCE_7
        case "redis":
            unknown = OF_VALKEY
        case _:
            unknown = set()
    return [name for name in RESTRICTED.split() if name not in unknown]


def user(release: Release, *, password: str) -> str:
    """Return the rule of the default user who may do what Serverless allows, and nothing else."""
    secret = f">{password}" if password else "nopass"
    minus = " ".join(f"-{command}" for command in refused(release))
    return f"default on {secret} ~* &* +@all {minus}"
