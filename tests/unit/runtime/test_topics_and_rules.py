"""What the broker must have, from the catalogue."""

from imex.events import TOPICS, topic_named
from imex.runtime.acls import Operation, Resource, rules
from imex.runtime.topics import topic_definitions

_DAY_MS = 24 * 60 * 60 * 1000


def test_every_topic_has_its_dead_letters_and_identifying_ones_are_kept_seven_days() -> None:
    made = {each.name: each for each in topic_definitions(TOPICS)}
    for topic in TOPICS:
        assert made[topic.name].num_partitions == topic.partitions
        dead = made[topic.dead_letter]
        if topic.identifying:
            assert int(dead.topic_configs["retention.ms"]) <= 7 * _DAY_MS
    assert made["directory"].topic_configs["cleanup.policy"] == "compact"


def test_three_replicas_need_two_in_sync() -> None:
    assert all(
        each.topic_configs["min.insync.replicas"] == "2" for each in topic_definitions(TOPICS, replication=3)
    )


def test_a_service_writes_only_its_own_topics() -> None:
    def may(service: str, operation: Operation) -> set[str]:
        return {
            rule.name
            for rule in rules(TOPICS)
            if rule.user == f"imex-{service}"
            and rule.resource is Resource.TOPIC
            and rule.operation is operation
        }

    assert may("routing", Operation.WRITE) >= {"shares", "manifests.bulk", "dead.validations.bulk", "audit"}
    assert "validations.bulk" not in may("routing", Operation.WRITE)
    assert "instances.bulk" not in may("routing", Operation.READ)
    assert set(topic_named("commands").consumers) == {
        service
        for service in ("validation", "routing", "delivery", "audit")
        if "commands" in may(service, Operation.READ)
    }


def test_a_service_reads_in_groups_of_its_own_name() -> None:
    of_groups = [rule for rule in rules(TOPICS) if rule.resource is Resource.GROUP]
    reading = {(rule.user, rule.name) for rule in of_groups if rule.operation is Operation.READ}
    assert ("imex-audit", "imex-audit") in reading
    assert all(user == name for user, name in reading)
    watched = {(rule.user, rule.name) for rule in of_groups} - reading
    assert watched == {("imex-routing", "imex-validation"), ("imex-portal", "imex-validation")}
