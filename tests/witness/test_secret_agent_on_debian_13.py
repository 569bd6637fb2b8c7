"""What differs with the system rather than with the agent: the tests of test_secret_agent.py that concern systemd, the
kernel and the sandbox, on Debian 13."""

from __future__ import annotations

import pytest

from tests.lab import Host, Lab
from tests.witness import test_secret_agent as of_agent

pytestmark = pytest.mark.needs("lab", "bao")

host, well = of_agent.host, of_agent.well
IN_TURN = (
    of_agent.test_all_of_it_goes_back,
    of_agent.test_a_file_is_there_before_apply_ends_and_only_its_group_may_read_it,
    of_agent.test_the_agent_may_do_nothing_else,
    of_agent.test_a_hardened_host_is_clean,
    of_agent.test_a_new_version_arrives_and_without_an_old_key_both_files_hold_the_new_one,
    of_agent.test_the_socket_answers_its_group_alone_and_no_request_without_the_header,
    of_agent.test_killed_it_comes_again_and_the_keys_stay_meanwhile,
    of_agent.test_an_unmounted_tmpfs_stops_it_and_a_new_one_starts_it,
    of_agent.test_a_boot_mounts_first_and_the_keys_are_there_when_it_starts_the_rest,
    of_agent.test_another_program_than_the_pinned_one_is_not_started_and_all_goes_back,
    of_agent.test_a_wrapped_secret_id_is_good_once_and_serves_every_login_after_that,
)
# pytest finds what the module has, in its order.
globals().update({test.__name__: test for test in IN_TURN})


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Host:
    return of_agent.beside_a_server(lab, "agent-13", "trixie")
