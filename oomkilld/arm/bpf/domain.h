// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Reads the domain: what ran out of memory, and how much it had. */

/* The limits of the cgroup and its usage. */
static __always_inline void fill_cgroup_domain(struct kill_record *record, void *memcg)
{
#if HAVE_page_counter_max && HAVE_page_counter_usage && HAVE_mem_cgroup_memory
	void *memory = MEMBER(memcg, mem_cgroup, memory), *swap;

	TAKE(record, domain_limit_pages, memory, page_counter, max);
	TAKE(record, domain_usage_pages, memory, page_counter, usage);
#if HAVE_mem_cgroup_swap && HAVE_mem_cgroup_memsw
	swap = record->cgroup_version == 2 ? MEMBER(memcg, mem_cgroup, swap) : MEMBER(memcg, mem_cgroup, memsw);
	TAKE(record, domain_swap_limit_pages, swap, page_counter, max);
	TAKE(record, domain_swap_usage_pages, swap, page_counter, usage);
#endif
#endif
}

/* The size of RAM and swap. */
static __always_inline void fill_host_domain(struct draft *draft)
{
	TAKE_COUNT(draft, domain_limit_pages, ADDRESS__totalram_pages);
	TAKE_COUNT(draft, domain_swap_limit_pages, ADDRESS_total_swap_pages);
}

#ifdef DOMAIN_COUNT_PLACES
/* The kernel's count with that number for the cgroup and those below it, as of its last update. */
static __always_inline int fetch_domain_count(struct draft *draft, s64 *pages, u32 number)
{
	void *counts = MEMBER(draft->memcg, mem_cgroup, vmstats);
#ifndef DOMAIN_COUNTS_DIRECT
	u8 first = 0, place = 0;

	/* NR_INACTIVE_ANON has the first place: 0, or on some kernels 1. A value that is not counted has none. */
	if (bpf_probe_read_kernel(&first, 1, (void *)(ADDRESS_mem_cgroup_stats_index + NR_INACTIVE_ANON)) ||
	    bpf_probe_read_kernel(&place, 1, (void *)(ADDRESS_mem_cgroup_stats_index + (u64)number)) ||
	    first > 1 || place < first || place - first >= DOMAIN_COUNT_PLACES)
		return -1;
	number = place - first;
#endif
#ifdef DOMAIN_COUNTS_POINTED_TO
	if (FETCH(&counts, sizeof(counts), draft->memcg, mem_cgroup, vmstats))
		return -1;
#endif
#if HAVE_memcg_vmstats_state
	counts = MEMBER(counts, memcg_vmstats, state);
#endif
	return bpf_probe_read_kernel(pages, sizeof(*pages), counts + number * sizeof(*pages));
}
#endif

#define TAKE_DOMAIN_COUNT(draft, fact, number)                                       \
	do {                                                                         \
		if (fetch_domain_count(draft, &(draft)->record.fact, number) == 0)   \
			(draft)->record.present |= FACT_##fact;                      \
	} while (0)

#if defined(SIZE_nodemask) && defined(CONSTRAINT_CPUSET) && defined(CONSTRAINT_MEMORY_POLICY)
/* The nodes from which the trigger may allocate memory: those of its cpuset, or of its memory policy. */
static __always_inline void fill_nodes(struct kill_record *record, void *oc)
{
	void *mask = NULL;
	u64 first = 0, more, beyond = 0;
	long failed;

	if (record->constraint == CONSTRAINT_CPUSET)
		mask = MEMBER(bpf_get_current_task(), task_struct, mems_allowed);
	else
		FETCH(&mask, sizeof(mask), oc, oom_control, nodemask);
	failed = bpf_probe_read_kernel(&first, sizeof(first), mask);
	for (u32 at = sizeof(first); at < SIZE_nodemask; at += sizeof(first)) {
		more = 0;
		failed |= bpf_probe_read_kernel(&more, sizeof(more), mask + at);
		beyond |= more;
	}
	if (failed || beyond)
		return;
	record->domain_nodes = first;
	record->present |= FACT_domain_nodes;
}

/* Append the cgroup name of the trigger's cpuset, as in the kernel's log. Returns the length of the appended text. */
static __always_inline u64 append_cpuset(struct draft *draft)
{
#if HAVE_css_set_subsys && HAVE_cgroup_kn && HAVE_kernfs_node_name && defined(cpuset_cgrp_id)
	void *states = MEMBER(cgroups_of((void *)bpf_get_current_task()), css_set, subsys);
	void *state = NULL, *cgroup = NULL, *directory = NULL;

	if (bpf_probe_read_kernel(&state, sizeof(state), states + cpuset_cgrp_id * sizeof(state)) ||
	    FETCH(&cgroup, sizeof(cgroup), state, cgroup_subsys_state, cgroup) ||
	    FETCH(&directory, sizeof(directory), cgroup, cgroup, kn))
		return 0;
	return append_name(draft, 0, MEMBER(directory, kernfs_node, name));
#else
	return 0;
#endif
}

/* Which part of the machine ran out, if the domain is one. */
static __always_inline void fill_part_of_machine(struct draft *draft, void *oc)
{
	struct kill_record *record = &draft->record;

	if (record->constraint != CONSTRAINT_CPUSET && record->constraint != CONSTRAINT_MEMORY_POLICY)
		return;
	fill_nodes(record, oc);
	if (record->constraint != CONSTRAINT_CPUSET)
		return;
	record->domain_cpuset_length = append_cpuset(draft);
	draft->why_length = record->domain_cpuset_length;
}
#else
static __always_inline void fill_part_of_machine(struct draft *draft, void *oc)
{
}
#endif

/* The verifier follows each step. For a cgroup further below the domain, a group kill stays unknown. */
#define GROUP_LEVELS 256

/* Whether the kernel will kill a whole group, by the rules of mem_cgroup_get_oom_group(). */
static __always_inline void fill_group_kill(struct kill_record *record, void *chosen, void *memcg)
{
#if HAVE_mem_cgroup_oom_group && HAVE_mem_cgroup_css && HAVE_css_set_subsys && defined(memory_cgrp_id)
	void *domain = memcg ? MEMBER(memcg, mem_cgroup, css) : NULL;
	void *state = memory_state_of(chosen);
	u8 whole = 0, any = 0;

	for (int level = 0; level < GROUP_LEVELS; level++) {
		if (!state)
			break;
		if (FETCH(&whole, sizeof(whole), (u64)state - OFFSET_mem_cgroup_css, mem_cgroup, oom_group))
			return;
		any |= whole;
		if (state == domain)
			break;
		if (FETCH(&state, sizeof(state), state, cgroup_subsys_state, parent))
			return;
	}
	/* The loop ended before the domain and before the root. */
	if (state && state != domain)
		return;
	/* If the victim was moved out of the domain meanwhile, the kernel kills only the victim. */
	record->group_kill = any && state == domain;
	record->present |= FACT_group_kill;
#endif
}

/* Record the domain. Its cgroup's path is the first text after the record. chosen: NULL if nothing can be killed. */
static __always_inline void fill_domain(struct draft *draft, void *oc, void *chosen)
{
	struct kill_record *record = &draft->record;
	void *memcg = NULL, *cgroup = NULL;

	FETCH(&memcg, sizeof(memcg), oc, oom_control, memcg);
	draft->memcg = memcg;
	if (chosen)
		fill_group_kill(record, chosen, memcg);
	if (!memcg) {
		fill_host_domain(draft);
		fill_part_of_machine(draft, oc);
		return;
	}
#if HAVE_mem_cgroup_css
	FETCH(&cgroup, sizeof(cgroup), MEMBER(memcg, mem_cgroup, css), cgroup_subsys_state, cgroup);
	record->cgroup_version = version_of(cgroup);
	record->present |= FACT_cgroup_version;
#endif
	fill_cgroup_domain(record, memcg);
	draft->why_length = append_path(draft, 0, cgroup, &record->domain_cgroup_length, &draft->domain);
}
