"""What differs with the system rather than with the agent: the tests of test_secret_agent.py that concern systemd, the
kernel and the sandbox, on Debian 13."""

# ruff: noqa: F401 - pytest finds what is imported

from __future__ import annotations

import pytest

from tests.lab import Host, Lab
from tests.witness.test_secret_agent import (
    beside_a_server,
    host,
    test_a_boot_mounts_first_and_the_keys_are_there_when_it_starts_the_rest,
    test_a_file_is_there_before_apply_ends_and_only_its_group_may_read_it,
    test_a_hardened_host_is_clean,
    test_a_new_version_arrives_and_without_an_old_key_both_files_hold_the_new_one,
    test_a_wrapped_secret_id_is_good_once_and_serves_every_login_after_that,
    test_all_of_it_goes_back,
    test_an_unmounted_tmpfs_stops_it_and_a_new_one_starts_it,
    test_another_program_than_the_pinned_one_is_not_started_and_all_goes_back,
    test_killed_it_comes_again_and_the_keys_stay_meanwhile,
    test_the_agent_may_do_nothing_else,
    test_the_secrets_stand_nowhere_else,
    test_the_socket_answers_its_group_alone_and_no_request_without_the_header,
    well,
)

pytestmark = pytest.mark.needs("lab", "bao")


@pytest.fixture(scope="module")
def bare(lab: Lab) -> Host:
    return beside_a_server(lab, "agent-13", "trixie")
