// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * The candidates: the processes among which the kernel searches for one to kill. It asks oom_badness() for each, inside
 * out_of_memory(), under oom_lock.
 */

/* A candidate, as user space reads it. */
struct candidate {
	u64 pages; /* as oom_badness() counts them: resident, swapped out and page tables */
	u32 pid;
	s16 oom_score_adj;
	u16 reserved;
	char comm[16];
};

/* The latest search for a process to kill. */
struct search {
	u64 owner; /* pid_tgid of the task that searches, or has searched */
	void *oc;
	u64 pages; /* of all candidates */
	u32 candidates;
	u32 exempt; /* candidates that the kernel never kills */
	struct candidate largest[MOST_CANDIDATES]; /* in descending order; unused ones have no process */
};

#if HAVE_mm_struct_pgtables_bytes && HAVE_signal_struct_oom_score_adj
/*
 * The kernel's own counts for the badness of a process: since Linux 6.2, without what each CPU has not yet added.
 * All kinds in one read: there may be thousands of candidates, and the kernel waits for each.
 */
static __always_inline int fetch_about(u64 *pages, void *mm)
{
#if HAVE_percpu_rss || HAVE_mm_rss_stat_count
	s64 counts[COUNT_KINDS * COUNT_STEP];

	if (FETCH(counts, sizeof(counts), mm, mm_struct, rss_stat))
		return -1;
#pragma unroll
	for (int kind = 0; kind < COUNT_KINDS; kind++)
		if (counts[kind * COUNT_STEP + COUNT_FIRST] > 0)
			*pages += counts[kind * COUNT_STEP + COUNT_FIRST];
	return 0;
#else
	return -1;
#endif
}

/*
 * The memory of a process, which one of its threads still has: its first thread may have ended before the others. The
 * verifier follows each step. Of a process whose first threads have all ended, no memory is found.
 */
#define THREADS_TRIED 8

static __always_inline void *memory_of(void *task, void *signal)
{
	void *mm = NULL;

	FETCH(&mm, sizeof(mm), task, task_struct, mm);
#if HAVE_signal_struct_thread_head && HAVE_task_struct_thread_node && HAVE_list_head_next
	void *node = MEMBER(signal, signal_struct, thread_head);

	for (int step = 0; step < THREADS_TRIED; step++) {
		if (mm || FETCH(&node, sizeof(node), node, list_head, next) || node == MEMBER(signal, signal_struct, thread_head))
			break;
		FETCH(&mm, sizeof(mm), node - OFFSET_task_struct_thread_node, task_struct, mm);
	}
#endif
	return mm;
}

/* Add a process, which the kernel only lists if it has memory. */
static __always_inline void add_candidate(struct search *search, void *task)
{
	struct candidate added = {};
	void *signal = NULL, *mm;
	u64 bytes = 0;

	FETCH(&signal, sizeof(signal), task, task_struct, signal);
	mm = memory_of(task, signal);
	if (!mm || FETCH(&bytes, sizeof(bytes), mm, mm_struct, pgtables_bytes) ||
	    fetch_about(&added.pages, mm))
		return;
	added.pages += bytes / PAGE_SIZE;
	FETCH(&added.oom_score_adj, sizeof(added.oom_score_adj), signal, signal_struct, oom_score_adj);
	search->candidates++;
	search->exempt += added.oom_score_adj == EXEMPT;
	search->pages += added.pages;
	if (added.pages <= search->largest[MOST_CANDIDATES - 1].pages)
		return;
	FETCH(&added.pid, sizeof(added.pid), task, task_struct, tgid);
	FETCH(&added.comm, sizeof(added.comm), task, task_struct, comm);
#pragma unroll
	for (int place = 0; place < MOST_CANDIDATES; place++) {
		struct candidate *largest = &search->largest[place];

		if (added.pages > largest->pages) {
			struct candidate smaller = *largest;

			*largest = added;
			added = smaller;
		}
	}
}
#else
static __always_inline void add_candidate(struct search *search, void *task)
{
}
#endif

/* Record the candidates. Their text follows the domain's. */
static __always_inline void fill_candidates(struct draft *draft, struct search *search)
{
	struct kill_record *record = &draft->record;
	u64 used = draft->why_length;

	if (!search->candidates)
		return;
	record->candidates = search->candidates;
	record->candidates_exempt = search->exempt;
	record->candidates_pages = search->pages;
	record->present |= FACT_candidates | FACT_candidates_exempt | FACT_candidates_pages;
	if (draft->crowded || used > TEXT_MASK - NAME_ROOM)
		return;
	barrier_var(used);
	bpf_probe_read_kernel(&draft->text[used & TEXT_MASK], sizeof(search->largest), search->largest);
	record->largest_candidates_length = sizeof(search->largest);
	draft->why_length = used + sizeof(search->largest);
}
