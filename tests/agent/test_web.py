"""What http:// and https:// publishers send is a list of samples as JSON."""

from __future__ import annotations

import base64
import json

from tests.agent.receivers import receiving
from tests.agent.test_otlp import SAMPLES, publisher

from hitless.agent.event import Event


def test_a_batch_is_one_post_of_a_json_list_with_the_rest_of_the_query_as_it_was() -> None:
    with receiving() as receiver:
        made = publisher(
            f"http://me:s%40crt@127.0.0.1:{receiver.port}/a%2Fb?timeout=3s&tenant=x&gzip&tenant=y"
        )
        made.publish(SAMPLES[:2])
        made.publish_events([Event("1", "vm.create", 0.0, {"host": "a", "size": 3})])
        made.close()
    first, second = receiver.taken
    assert first.path == "/a%2Fb?tenant=x&tenant=y"
    assert first.headers["authorization"] == "Basic " + base64.b64encode(b"me:s@crt").decode()
    assert json.loads(first.plain) == [each.to_json() for each in SAMPLES[:2]]
    assert json.loads(second.plain)[0]["traits"] == [["host", 1, "a"], ["size", 2, 3]]
