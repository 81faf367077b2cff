// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* What is read of a domain: whose memory ran out, and how much there was. */

/* The limit that was hit and what there was of memory below it. */
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

/* How much RAM and swap there is. */
static __always_inline void fill_host_domain(struct kill_record *record)
{
#ifdef ADDRESS__totalram_pages
	TAKE_COUNT(record, domain_limit_pages, ADDRESS__totalram_pages);
#endif
#ifdef ADDRESS_total_swap_pages
	TAKE_COUNT(record, domain_swap_limit_pages, ADDRESS_total_swap_pages);
#endif
}

/* The verifier follows each step; of a group deeper below its domain it is unknown whether the whole is killed. */
#define GROUP_LEVELS 256

/* Whether the kernel will kill a whole group: as mem_cgroup_get_oom_group() finds out. */
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
	/* Neither the domain's nor above the root's. */
	if (state && state != domain)
		return;
	/* A victim that was moved out of the domain meanwhile is killed by itself. */
	record->group_kill = any && state == domain;
	record->present |= FACT_group_kill;
#endif
}

/* Whose memory ran out; the path of its cgroup is the first text behind the record. */
static __always_inline void fill_domain(struct draft *draft, void *oc, void *chosen)
{
	struct kill_record *record = &draft->record;
	void *memcg = NULL, *cgroup = NULL;

	FETCH(&memcg, sizeof(memcg), oc, oom_control, memcg);
	fill_group_kill(record, chosen, memcg);
	if (!memcg) {
		fill_host_domain(record);
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
