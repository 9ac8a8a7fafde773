"""The connector's own tests: they run with `headwater test`, against the same simulated tracker."""

from databricks.labs.community_connector.sources.bug_tracker.bug_tracker import BugTrackerLakeflowConnect


def test_a_closed_bug_keeps_its_reporter():
    connector = BugTrackerLakeflowConnect({"token": "made-up-token-of-nobody"})
    bugs, _ = connector.read_table("bugs", {}, {})
    closed = [bug for bug in bugs if bug["state"] == "closed"]
    assert closed and all(bug["reporter"]["name"] for bug in closed)
