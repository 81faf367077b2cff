// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Reads a task: its identity, its executable, its cgroup, and its memory. */

/* A process. Its number alone does not identify it, because the kernel reuses numbers. */
struct process {
	u64 start_boottime_ns;
	u64 pid;
};

static __always_inline struct process process_of(void *task)
{
	struct process process = {};
	u32 pid = 0;
	void *leader = NULL;

	FETCH(&pid, sizeof(pid), task, task_struct, tgid);
	process.pid = pid;
	if (FETCH(&leader, sizeof(leader), task, task_struct, group_leader) == 0)
		FETCH(&process.start_boottime_ns, sizeof(u64), leader, task_struct, start_boottime);
	return process;
}

static __always_inline int same_process(struct process *a, struct process *b)
{
	return a->pid == b->pid && a->start_boottime_ns == b->start_boottime_ns;
}

static __always_inline void *cgroups_of(void *task)
{
	void *cgroups = NULL;

	FETCH(&cgroups, sizeof(cgroups), task, task_struct, cgroups);
	return cgroups;
}

#if HAVE_css_set_subsys && defined(memory_cgrp_id)
/* The task's state in the memory controller. */
static __always_inline void *memory_state_of(void *task)
{
	void *states = MEMBER(cgroups_of(task), css_set, subsys), *state = NULL;

	bpf_probe_read_kernel(&state, sizeof(state), states + memory_cgrp_id * sizeof(state));
	return state;
}

/* 2 if this cgroup is in the unified hierarchy, else 1. */
static __always_inline u32 version_of(void *cgroup)
{
	void *root = NULL;
	s32 hierarchy = -1;

	FETCH(&root, sizeof(root), cgroup, cgroup, root);
	FETCH(&hierarchy, sizeof(hierarchy), root, cgroup_root, hierarchy_id);
	return hierarchy ? 1 : 2;
}

/*
 * The task's cgroup. In version 2, the memory controller need not be enabled for it; in version 1, where each
 * controller has its own hierarchy, it is the memory controller's.
 */
static __always_inline void *cgroup_of(struct kill_record *record, void *task)
{
	void *state = memory_state_of(task);
	void *cgroup = NULL;

	if (FETCH(&cgroup, sizeof(cgroup), state, cgroup_subsys_state, cgroup))
		return NULL;
	record->cgroup_version = version_of(cgroup);
	record->present |= FACT_cgroup_version;
	if (record->cgroup_version == 1)
		return cgroup;
	FETCH(&cgroup, sizeof(cgroup), cgroups_of(task), css_set, dfl_cgrp);
	return cgroup;
}
#else
static __always_inline void *cgroup_of(struct kill_record *record, void *task)
{
	return NULL;
}
#endif

/* Number of a process in its innermost PID namespace. */
#if HAVE_signal_struct_pids && HAVE_pid_numbers && HAVE_upid_nr && defined(PIDTYPE_TGID)
static __always_inline int fetch_namespace_pid(u32 *number, void *signal)
{
	void *pid = NULL;
	u32 level = 0;

	bpf_probe_read_kernel(&pid, sizeof(pid), MEMBER(signal, signal_struct, pids) + PIDTYPE_TGID * sizeof(pid));
	if (FETCH(&level, sizeof(level), pid, pid, level))
		return -1;
	return FETCH(number, sizeof(*number), MEMBER(pid, pid, numbers) + level * SIZE_upid, upid, nr);
}
#else
static __always_inline int fetch_namespace_pid(u32 *number, void *signal)
{
	return -1;
}
#endif

/* Appends the base name of the file that the process runs. */
static __always_inline u64 append_exe(struct draft *draft, u64 used, void *mm)
{
#if HAVE_mm_struct_exe_file && HAVE_file_f_path && HAVE_dentry_d_name && HAVE_qstr_name
	void *file = NULL, *still = NULL, *entry = NULL;
	u64 length;

	if (!mm || FETCH(&file, sizeof(file), mm, mm_struct, exe_file) || !file)
		return 0;
	if (FETCH(&entry, sizeof(entry), MEMBER(file, file, f_path), path, dentry))
		return 0;
	length = append_name(draft, used, MEMBER(MEMBER(entry, dentry, d_name), qstr, name));
	/* If another file has replaced it (PR_SET_MM_EXE_FILE), the kernel may have reused its memory. */
	FETCH(&still, sizeof(still), mm, mm_struct, exe_file);
	return still == file ? length : 0;
#else
	return 0;
#endif
}

#ifdef CMDLINE
/*
 * Appends the command line of the running task, read from its own memory: its length (u32), and as many bytes as fit.
 * This never blocks: a page that is not in memory is not read, and nothing after it.
 */
static __always_inline u64 append_cmdline(struct draft *draft, u64 used)
{
	void *mm = NULL;
	u64 start = 0, end = 0, length;
	u32 whole;
	char *to;

	FETCH(&mm, sizeof(mm), (void *)bpf_get_current_task(), task_struct, mm);
	if (!mm || FETCH(&start, sizeof(start), mm, mm_struct, arg_start) ||
	    FETCH(&end, sizeof(end), mm, mm_struct, arg_end) || start >= end)
		return 0;
	if (used > TEXT_MASK - CMDLINE_ROOM - sizeof(whole))
		return 0;
	length = end - start;
	if (length > CMDLINE_MASK)
		length = CMDLINE_MASK;
	/* Of a longer command line, the reader needs to know only that it is longer than the bytes that follow. */
	whole = end - start > CMDLINE_ROOM ? CMDLINE_ROOM : end - start;
	barrier_var(used);
	to = &draft->text[used & TEXT_MASK];
	bpf_probe_read_kernel(to, sizeof(whole), &whole);
	to += sizeof(whole);
	barrier_var(length);
	if (bpf_probe_read_user(to, length & CMDLINE_MASK, (void *)start)) {
		/* It spans two pages at most: read only the part in the first. */
		u64 first = PAGE_SIZE - (start & (PAGE_SIZE - 1));

		if (first >= length)
			return 0;
		length = first;
		barrier_var(length);
		if (bpf_probe_read_user(to, length & CMDLINE_MASK, (void *)start))
			return 0;
	}
	return sizeof(whole) + (length & CMDLINE_MASK);
}
#else
static __always_inline u64 append_cmdline(struct draft *draft, u64 used)
{
	return 0;
}
#endif

/* The facts that are recorded for both the trigger and the victim. */
#define TAKE_PROCESS(record, who, leader, signal)                                                  \
	do {                                                                                       \
		void *parent = NULL;                                                               \
                                                                                                   \
		TAKE(record, who##_start_boottime_ns, leader, task_struct, start_boottime);        \
		if (FETCH(&parent, sizeof(parent), leader, task_struct, real_parent) == 0) {       \
			TAKE(record, who##_parent_pid, parent, task_struct, tgid);                 \
			TAKE(record, who##_parent_comm, parent, task_struct, comm);                \
		}                                                                                  \
		if (fetch_namespace_pid(&(record)->who##_ns_pid, signal) == 0)                     \
			(record)->present |= FACT_##who##_ns_pid;                                  \
	} while (0)

/* The task that asked for memory, which is the running task. */
static __always_inline void fill_trigger(struct kill_record *record)
{
	u64 pid_tgid = bpf_get_current_pid_tgid();

	record->trigger_pid = pid_tgid >> 32;
	record->trigger_tid = (u32)pid_tgid;
	record->trigger_uid = (u32)bpf_get_current_uid_gid();
	record->present |= FACT_trigger_uid;
	if (bpf_get_current_comm(record->trigger_comm, sizeof(record->trigger_comm)) == 0)
		record->present |= FACT_trigger_comm;
}

/* Whether the trigger is a thread of the victim, as most often: then the victim's facts are not read twice. */
static __always_inline int trigger_is_victim(struct draft *draft, void *victim)
{
	struct kill_record *record = &draft->record;
	u32 pid = 0;

	FETCH(&pid, sizeof(pid), victim, task_struct, tgid);
	if (pid != record->trigger_pid)
		return 0;
	draft->trigger_cgroups = cgroups_of((void *)bpf_get_current_task());
	record->trigger_cgroup_length = SAME_AS_VICTIM;
	record->trigger_exe_length = SAME_AS_VICTIM;
	return 1;
}

/* If the trigger turns out not to be a thread of the victim, or to be in another cgroup, its facts are unknown. */
static __always_inline void correct_trigger(struct draft *draft, void *victim)
{
	struct kill_record *record = &draft->record;

	if (record->trigger_exe_length != SAME_AS_VICTIM)
		return;
	if (record->victim_pid != record->trigger_pid)
		record->trigger_exe_length = record->trigger_cgroup_length = 0;
	else if (cgroups_of(victim) != draft->trigger_cgroups)
		record->trigger_cgroup_length = 0;
}

/* The other facts about a trigger that is not the victim. Their text follows the domain's. */
static __always_inline void fill_other_trigger(struct draft *draft)
{
	struct kill_record *record = &draft->record;
	void *task = (void *)bpf_get_current_task();
	void *leader = NULL, *signal = NULL, *mm = NULL;
	struct kept kept;
	u64 used = draft->why_length;

	FETCH(&leader, sizeof(leader), task, task_struct, group_leader);
	FETCH(&signal, sizeof(signal), task, task_struct, signal);
	FETCH(&mm, sizeof(mm), task, task_struct, mm);
	TAKE_PROCESS(record, trigger, leader, signal);
	used += append_path(draft, used, cgroup_of(record, task), &record->trigger_cgroup_length, &kept);
	record->trigger_exe_length = append_exe(draft, used, mm);
	draft->why_length = used + record->trigger_exe_length;
}

/* Where a process's counts are, of 8 bytes each, from mm_struct.rss_stat: one for each kind of page. */
#if HAVE_percpu_rss
#define COUNT_STEP (SIZE_percpu_counter / 8)
#define COUNT_FIRST (OFFSET_percpu_counter_count / 8)
#define COUNT_PARTS (OFFSET_percpu_counter_counters / 8)
#else
#define COUNT_STEP 1
#define COUNT_FIRST 0
#endif

/*
 * Since Linux 6.2 ("mm: convert mm's rss stats into percpu_counter", f1a7941243c1) each CPU holds a part of each count;
 * only their sum is exact. All kinds in one pass: the verifier follows it for each possible CPU, and has a limit.
 */
static __always_inline void fill_pages(struct draft *draft, void *task)
{
#if HAVE_percpu_rss || HAVE_mm_rss_stat_count
	struct kill_record *record = &draft->record;
	s64 counts[COUNT_KINDS * COUNT_STEP], sums[COUNT_KINDS];
	void *mm = NULL;
	long failed = FETCH(&mm, sizeof(mm), task, task_struct, mm);

	failed |= FETCH(counts, sizeof(counts), mm, mm_struct, rss_stat);
#pragma unroll
	for (int kind = 0; kind < COUNT_KINDS; kind++)
		sums[kind] = counts[kind * COUNT_STEP + COUNT_FIRST];
#if HAVE_percpu_rss
	for (u32 cpu = 0; cpu < POSSIBLE_CPUS; cpu++) {
		u64 offset = 0;

		/* No branch here: the verifier would follow each one for each CPU. */
		failed |= bpf_probe_read_kernel(&offset, sizeof(offset), (void *)(ADDRESS___per_cpu_offset + cpu * 8ULL));
#pragma unroll
		for (int kind = 0; kind < COUNT_KINDS; kind++) {
			s32 part = 0;

			failed |= bpf_probe_read_kernel(&part, sizeof(part), (void *)counts[kind * COUNT_STEP + COUNT_PARTS] + offset);
			sums[kind] += part;
		}
	}
#endif
	if (failed)
		return;
	record->victim_anon_pages = sums[MM_ANONPAGES];
	record->victim_file_pages = sums[MM_FILEPAGES];
	record->victim_shmem_pages = sums[MM_SHMEMPAGES];
	record->victim_swap_pages = sums[MM_SWAPENTS];
	record->present |= FACT_victim_anon_pages | FACT_victim_file_pages | FACT_victim_shmem_pages | FACT_victim_swap_pages;
#endif
}

/* The identity of a victim or of a spared process. Returns the length of the text after the record. */
static __always_inline u64 fill_victim(struct draft *draft, void *task)
{
	struct kill_record *record = &draft->record;
	void *cred = NULL, *leader = NULL, *signal = NULL;
	struct kept kept;
	u64 used = draft->why_length;

	record->present &= ~FACTS_OF_VICTIM;
	record->victim_exe_length = 0;
	fill_pages(draft, task); /* first, where the verifier has seen few branches */
	FETCH(&record->victim_tid, sizeof(u32), task, task_struct, pid);
	FETCH(&record->victim_pid, sizeof(u32), task, task_struct, tgid);
	TAKE(record, victim_comm, task, task_struct, comm);
	if (FETCH(&cred, sizeof(cred), task, task_struct, real_cred) == 0)
		TAKE(record, victim_uid, cred, cred, uid);
	FETCH(&leader, sizeof(leader), task, task_struct, group_leader);
	FETCH(&signal, sizeof(signal), task, task_struct, signal);
	TAKE(record, victim_oom_score_adj, signal, signal_struct, oom_score_adj);
	TAKE_PROCESS(record, victim, leader, signal);
	correct_trigger(draft, task);
	return used + append_path(draft, used, cgroup_of(record, task), &record->victim_cgroup_length, &kept);
}

/*
 * Other processes that use the victim's memory (CLONE_VM without CLONE_THREAD) die with it; the kernel neither counts
 * nor names them. For an instant, a process that reads the victim's files in /proc can count as one of them.
 */
static __always_inline void fill_sharers(struct kill_record *record, void *task, void *mm)
{
	void *signal = NULL;
	s32 users = 0, threads = 0;

	FETCH(&signal, sizeof(signal), task, task_struct, signal);
	if (FETCH(&users, sizeof(users), mm, mm_struct, mm_users) ||
	    FETCH(&threads, sizeof(threads), signal, signal_struct, nr_threads))
		return;
	record->victim_memory_sharers = users > threads ? users - threads : 0;
	record->present |= FACT_victim_memory_sharers;
}

/*
 * The victim's memory. task: the thread that the kernel's own "Killed process" line names; its memory still exists.
 * Returns the length of the text that it appends after ``used`` bytes.
 */
static __always_inline u64 fill_memory(struct draft *draft, void *task, u64 used)
{
	struct kill_record *record = &draft->record;
	void *mm = NULL;

	FETCH(&mm, sizeof(mm), task, task_struct, mm);
	if (!mm)
		return 0;
	TAKE(record, victim_total_vm_pages, mm, mm_struct, total_vm);
	TAKE(record, victim_pgtables_bytes, mm, mm_struct, pgtables_bytes);
	fill_sharers(record, task, mm);
	record->victim_exe_length = append_exe(draft, used, mm);
	return record->victim_exe_length;
}
