// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * One kill_record in the ring per process that the kernel's OOM killer kills.
 *
 * All hooks on the OOM killer run in the context of the task whose allocation failed (the trigger), under the
 * kernel's oom_lock: decisions never overlap, so one slot holds the current one. The task may sleep and change
 * CPU between the hooks, so the slot is matched by pid_tgid, never kept per CPU.
 *
 *   oom_kill_process        a decision: why. It may end without a kill.
 *     __oom_kill_process    an attempt on one process. It may find no memory left and give up: that one is spared.
 *       mark_oom_victim     the kill, if an attempt of the same task came before: who.
 *   oom_kill_process returns: the decision is closed.
 *   exit_oom_victim         later, in the context of the victim's marked thread: it has let go of its memory.
 *
 * mark_oom_victim without an attempt marks a task that is exiting anyway: spared, not killed. A group kill hits
 * the chosen process twice, once as the victim and once as a member, and a member whose first thread is gone
 * already once more by another thread: every hit but a process's first is counted as a repeat.
 * A process that shares the victim's memory (CLONE_VM without CLONE_THREAD) is killed by the kernel
 * without any of these calls and without being counted.
 *
 * The levels kprobe and fentry hook these functions. The level tracepoint has only what mark_oom_victim and the
 * sending of signals tell, see the end of this file: who, but not why.
 *
 * Kernel structures are read with FETCH only, whose offsets come from this kernel's BTF (kernel.h). Of a
 * member that this kernel lacks nothing is read, and its fact bit stays unset.
 */
#include <uapi/linux/ptrace.h>
#include <oomkilld/kernel.h>
#include <oomkilld/record.h>

/* bcc puts an older helper in their place where it finds no address of them, see arm/syslog.py. */
#undef bpf_probe_read_kernel
#undef bpf_probe_read_kernel_str

BPF_F_TABLE("array", int, u64, counters, COUNTER_SLOTS, BPF_F_MMAPABLE);
BPF_RINGBUF_OUTPUT(kills, RING_PAGES);

static __always_inline void count(int slot)
{
	u64 *counter = counters.lookup(&slot);

	if (counter)
		__sync_fetch_and_add(counter, 1);
}

/* Read a member into a fact of the record; the fact stays unknown when the kernel has no such member. */
#define TAKE(record, fact, base, type, member)                                      \
	do {                                                                        \
		if (FETCH(&(record)->fact, sizeof((record)->fact), base, type, member) == 0) \
			(record)->present |= FACT_##fact;                           \
	} while (0)

#define barrier_var(number) asm volatile("" : "+r"(number))
#define NAME_ROOM 256 /* NAME_MAX and its NUL */
#define TEXT_ROOM 16384
#define TEXT_MASK (TEXT_ROOM - 1)
#define PATH_LEVELS 32

/* What becomes a record. Only one is made at a time, under oom_lock. */
struct draft {
	u64 owner; /* pid_tgid of the task that decides; 0: no decision is open */
	u64 why_length; /* of the text that belongs to the decision, before that of each victim */
	u64 trigger_directory; /* its cgroup's kernfs_node */
	struct kill_record record;
	char text[TEXT_ROOM + NAME_ROOM]; /* directly behind the record */
};

BPF_ARRAY(drafts, struct draft, 1);

/* Appends a name to the text behind the record: its length with its NUL, 0 when there is none. */
static __always_inline u64 append_name(struct draft *draft, u64 used, const void *name)
{
	long length;

	if (used > TEXT_MASK - NAME_ROOM)
		return 0;
	/* Or the compiler, which knows where the number comes from, leaves out the mask, which the verifier wants. */
	barrier_var(used);
	length = bpf_probe_read_kernel_str(&draft->text[used & TEXT_MASK], NAME_ROOM, name);
	return length > 0 ? length & (2 * NAME_ROOM - 1) : 0;
}

#if HAVE_kernfs_node___parent
#define PARENT_OF(to, node) FETCH(to, sizeof(*(to)), node, kernfs_node, __parent)
#else
#define PARENT_OF(to, node) FETCH(to, sizeof(*(to)), node, kernfs_node, parent)
#endif

/*
 * Appends the names from a cgroup's directory up to the root's, which is empty: their length. Where one is not to be
 * had it ends there, without the root's, and the path is unknown.
 */
static __always_inline u64 append_path(struct draft *draft, u64 used, void *directory)
{
	u64 start = used;

	for (int level = 0; level < PATH_LEVELS; level++) {
		const char *name = NULL;
		u64 length;

		if (!directory)
			break;
		FETCH(&name, sizeof(name), directory, kernfs_node, name);
		length = append_name(draft, used, name);
		if (!length)
			break;
		used += length;
		if (PARENT_OF(&directory, directory))
			break;
	}
	return used - start;
}

static __always_inline void *directory_of(void *cgroup)
{
	void *directory = NULL;

	FETCH(&directory, sizeof(directory), cgroup, cgroup, kn);
	return directory;
}

#if HAVE_css_set_subsys && defined(memory_cgrp_id)
/* The task's cgroup as the memory controller has it. */
static __always_inline void *memory_state_of(void *task)
{
	void *set = NULL, *state = NULL;

	FETCH(&set, sizeof(set), task, task_struct, cgroups);
	bpf_probe_read_kernel(&state, sizeof(state), MEMBER(set, css_set, subsys) + memory_cgrp_id * sizeof(state));
	return state;
}

/* 2 where the hierarchy of this cgroup is the unified one, else 1. */
static __always_inline u32 version_of(void *cgroup)
{
	void *root = NULL;
	s32 hierarchy = -1;

	FETCH(&root, sizeof(root), cgroup, cgroup, root);
	FETCH(&hierarchy, sizeof(hierarchy), root, cgroup_root, hierarchy_id);
	return hierarchy ? 1 : 2;
}

/*
 * Where the task is: in version 2 its own cgroup, for which the memory controller need not be enabled; in
 * version 1, where each controller has a tree of its own, the memory controller's.
 */
static __always_inline void *cgroup_of(struct kill_record *record, void *task)
{
	void *state = memory_state_of(task);
	void *cgroup = NULL, *set = NULL;

	if (FETCH(&cgroup, sizeof(cgroup), state, cgroup_subsys_state, cgroup))
		return NULL;
	record->cgroup_version = version_of(cgroup);
	record->present |= FACT_cgroup_version;
	if (record->cgroup_version == 1)
		return cgroup;
	FETCH(&set, sizeof(set), task, task_struct, cgroups);
	FETCH(&cgroup, sizeof(cgroup), set, css_set, dfl_cgrp);
	return cgroup;
}
#else
static __always_inline void *cgroup_of(struct kill_record *record, void *task)
{
	return NULL;
}
#endif

/* Number of a process in the innermost PID namespace that it is in. */
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

/* Base name of the file that the process runs. */
static __always_inline u64 append_exe(struct draft *draft, u64 used, void *mm)
{
#if HAVE_file_f_path && HAVE_dentry_d_name
	void *file = NULL, *entry = NULL;
	const char *name = NULL;

	if (!mm || FETCH(&file, sizeof(file), mm, mm_struct, exe_file) || !file)
		return 0;
	FETCH(&entry, sizeof(entry), MEMBER(file, file, f_path), path, dentry);
	if (FETCH(&name, sizeof(name), MEMBER(entry, dentry, d_name), qstr, name))
		return 0;
	return append_name(draft, used, name);
#else
	return 0;
#endif
}

/* What is told of both, the trigger and the victim: who is which. */
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

/* The task that runs; its text is the first behind the record, but for the domain's. */
static __always_inline void fill_trigger(struct draft *draft, u64 domain_directory)
{
	struct kill_record *record = &draft->record;
	void *task = (void *)bpf_get_current_task();
	void *leader = NULL, *signal = NULL, *mm = NULL, *directory;
	u64 pid_tgid = bpf_get_current_pid_tgid();
	u64 used = draft->why_length;

	record->trigger_pid = pid_tgid >> 32;
	record->trigger_tid = (u32)pid_tgid;
	record->trigger_uid = (u32)bpf_get_current_uid_gid();
	record->present |= FACT_trigger_uid;
	if (bpf_get_current_comm(record->trigger_comm, sizeof(record->trigger_comm)) == 0)
		record->present |= FACT_trigger_comm;
	FETCH(&leader, sizeof(leader), task, task_struct, group_leader);
	FETCH(&signal, sizeof(signal), task, task_struct, signal);
	FETCH(&mm, sizeof(mm), task, task_struct, mm);
	TAKE_PROCESS(record, trigger, leader, signal);
	directory = directory_of(cgroup_of(record, task));
	draft->trigger_directory = (u64)directory;
	if (directory && (u64)directory == domain_directory) {
		record->trigger_cgroup_length = SAME_PATH;
	} else {
		record->trigger_cgroup_length = append_path(draft, used, directory);
		used += record->trigger_cgroup_length;
	}
	record->trigger_exe_length = append_exe(draft, used, mm);
	draft->why_length = used + record->trigger_exe_length;
}

#if HAVE_percpu_rss && defined(ADDRESS___per_cpu_offset)
/*
 * Since Linux 6.2 ("mm: convert mm's rss stats into percpu_counter", f1a7941243c1) each CPU holds a part of
 * the count; only their sum is exact.
 */
static __always_inline int fetch_pages(s64 *pages, void *mm, u32 kind)
{
	void *counter = MEMBER(mm, mm_struct, rss_stat) + kind * SIZE_percpu_counter;
	void *parts = NULL;
	long failed = 0;
	s64 sum = 0;

	if (FETCH(&sum, sizeof(sum), counter, percpu_counter, count) ||
	    FETCH(&parts, sizeof(parts), counter, percpu_counter, counters))
		return -1;
	for (u32 cpu = 0; cpu < POSSIBLE_CPUS; cpu++) {
		u64 offset = 0;
		s32 part = 0;

		/* No branch here: the verifier follows every one of them, for each CPU. */
		failed |= bpf_probe_read_kernel(&offset, sizeof(offset), (void *)(ADDRESS___per_cpu_offset + cpu * 8ULL));
		failed |= bpf_probe_read_kernel(&part, sizeof(part), parts + offset);
		sum += part;
	}
	*pages = sum;
	return failed ? -1 : 0;
}
#elif HAVE_mm_rss_stat_count
static __always_inline int fetch_pages(s64 *pages, void *mm, u32 kind)
{
	void *counts = MEMBER(MEMBER(mm, mm_struct, rss_stat), mm_rss_stat, count);

	return bpf_probe_read_kernel(pages, sizeof(*pages), counts + kind * sizeof(*pages));
}
#else
static __always_inline int fetch_pages(s64 *pages, void *mm, u32 kind)
{
	return -1;
}
#endif

#define TAKE_PAGES(record, fact, mm, kind)                       \
	do {                                                     \
		if (fetch_pages(&(record)->fact, mm, kind) == 0) \
			(record)->present |= FACT_##fact;        \
	} while (0)

/*
 * task: the thread that the kernel's own "Killed process" line names, and its mm is there; or one that was spared.
 * Gives the length of the text behind the record.
 */
static __always_inline u64 fill_victim(struct draft *draft, void *task)
{
	struct kill_record *record = &draft->record;
	void *cred = NULL, *leader = NULL, *mm = NULL, *signal = NULL, *directory;
	u64 used = draft->why_length;

	record->present &= ~FACTS_OF_VICTIM;
	FETCH(&record->victim_tid, sizeof(u32), task, task_struct, pid);
	FETCH(&record->victim_pid, sizeof(u32), task, task_struct, tgid);
	TAKE(record, victim_comm, task, task_struct, comm);
	if (FETCH(&cred, sizeof(cred), task, task_struct, real_cred) == 0)
		TAKE(record, victim_uid, cred, cred, uid);
	FETCH(&leader, sizeof(leader), task, task_struct, group_leader);
	FETCH(&signal, sizeof(signal), task, task_struct, signal);
	TAKE(record, victim_oom_score_adj, signal, signal_struct, oom_score_adj);
	TAKE_PROCESS(record, victim, leader, signal);
	FETCH(&mm, sizeof(mm), task, task_struct, mm);
	if (mm) {
		TAKE(record, victim_total_vm_pages, mm, mm_struct, total_vm);
		TAKE(record, victim_pgtables_bytes, mm, mm_struct, pgtables_bytes);
		TAKE_PAGES(record, victim_anon_pages, mm, MM_ANONPAGES);
		TAKE_PAGES(record, victim_file_pages, mm, MM_FILEPAGES);
		TAKE_PAGES(record, victim_shmem_pages, mm, MM_SHMEMPAGES);
		TAKE_PAGES(record, victim_swap_pages, mm, MM_SWAPENTS);
	}
	directory = directory_of(cgroup_of(record, task));
	if (directory && (u64)directory == draft->trigger_directory) {
		record->victim_cgroup_length = SAME_PATH;
	} else {
		record->victim_cgroup_length = append_path(draft, used, directory);
		used += record->victim_cgroup_length;
	}
	record->victim_exe_length = append_exe(draft, used, mm);
	return used + record->victim_exe_length;
}

/* A process, not only its number, which the kernel gives again. */
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

/*
 * What was marked of late -> what killed it: the time of the decision, or at level tracepoint pid_tgid of the
 * task; there 0: nothing, it was spared.
 */
BPF_TABLE("lru_hash", struct process, u64, marked, 8192);

/* A new draft, of which nothing is known but the task that runs. */
static __always_inline void begin(struct draft *draft)
{
	__builtin_memset(&draft->record, 0, sizeof(draft->record));
	draft->owner = 0;
	draft->why_length = 0;
	draft->record.layout = LAYOUT_ID;
}

static __always_inline void record_victim(struct draft *draft, void *task, int spared)
{
	u64 length = fill_victim(draft, task);

	barrier_var(length);
	draft->record.spared = spared;
	draft->record.kill_boottime_ns = bpf_ktime_get_boot_ns();
	/* The reader lags behind on purpose (it keeps what is not yet stored), and the kernel would wake it
	 * only if it had caught up: so always wake it. */
	if (kills.ringbuf_output(&draft->record, sizeof(draft->record) + (length & TEXT_MASK), BPF_RB_FORCE_WAKEUP))
		count(spared ? COUNT_lost_spared : COUNT_lost);
}

/*
 * A victim has let go of its memory, if it has: another of its threads, which may hang, can hold it still. Nobody waits
 * for that: the reader sees it with the next kill, or in time.
 */
static __always_inline void record_release(void *task)
{
	void *signal = NULL, *memory = NULL;
	s32 users = 0;

	FETCH(&signal, sizeof(signal), task, task_struct, signal);
	if (FETCH(&memory, sizeof(memory), signal, signal_struct, oom_mm) || !memory ||
	    FETCH(&users, sizeof(users), memory, mm_struct, mm_users) || users)
		return;
	struct process process = process_of(task);
	struct release_record record = {
		.boottime_ns = bpf_ktime_get_boot_ns(),
		.start_boottime_ns = process.start_boottime_ns,
		.layout = LAYOUT_ID,
		.pid = process.pid,
	};

	FETCH(&record.tid, sizeof(record.tid), task, task_struct, pid);
	kills.ringbuf_output(&record, sizeof(record), BPF_RB_NO_WAKEUP);
}

#if defined(LEVEL_kprobe) || defined(LEVEL_fentry)

/* Inside __oom_kill_process, before its mark. */
struct attempt {
	u64 owner; /* pid_tgid of the task that attempts; 0: none is open */
	void *task;
	struct process process;
};

BPF_ARRAY(attempts, struct attempt, 1);

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

#define TAKE_COUNT(record, fact, address)                                                                  \
	do {                                                                                               \
		if (bpf_probe_read_kernel(&(record)->fact, sizeof((record)->fact), (void *)(address)) == 0) \
			(record)->present |= FACT_##fact;                                                  \
	} while (0)

/* The kernel's own counts of RAM and swap. */
static __always_inline void fill_host_domain(struct kill_record *record)
{
#if defined(ADDRESS__totalram_pages) && defined(ADDRESS_vm_zone_stat) && defined(NR_FREE_PAGES)
	TAKE_COUNT(record, domain_limit_pages, ADDRESS__totalram_pages);
	TAKE_COUNT(record, domain_free_pages, ADDRESS_vm_zone_stat + NR_FREE_PAGES * sizeof(u64));
#endif
#if defined(ADDRESS_total_swap_pages) && defined(ADDRESS_nr_swap_pages)
	TAKE_COUNT(record, domain_swap_limit_pages, ADDRESS_total_swap_pages);
	TAKE_COUNT(record, domain_swap_free_pages, ADDRESS_nr_swap_pages);
#endif
}

/* Whether the kernel will kill a whole group: as mem_cgroup_get_oom_group() finds out. */
static __always_inline void fill_group_kill(struct kill_record *record, void *chosen, void *memcg)
{
#if HAVE_mem_cgroup_oom_group && HAVE_mem_cgroup_css && HAVE_css_set_subsys && defined(memory_cgrp_id)
	void *domain = memcg ? MEMBER(memcg, mem_cgroup, css) : NULL;
	void *state = memory_state_of(chosen);
	u8 whole = 0, any = 0;

	for (int level = 0; level < PATH_LEVELS; level++) {
		if (!state)
			break;
		if (FETCH(&whole, sizeof(whole), (u64)state - OFFSET_mem_cgroup_css, mem_cgroup, oom_group))
			break;
		any |= whole;
		if (state == domain || FETCH(&state, sizeof(state), state, cgroup_subsys_state, parent))
			break;
	}
	/* A victim that was moved out of the domain meanwhile is killed by itself. */
	if (domain && state != domain)
		any = 0;
	record->group_kill = any != 0;
	record->present |= FACT_group_kill;
#endif
}

/* Whose memory ran out: 0, or its cgroup's directory, whose path is the first text behind the record. */
static __always_inline u64 fill_domain(struct draft *draft, void *oc, void *chosen)
{
	struct kill_record *record = &draft->record;
	void *memcg = NULL, *cgroup = NULL, *directory;

	FETCH(&memcg, sizeof(memcg), oc, oom_control, memcg);
	fill_group_kill(record, chosen, memcg);
	if (!memcg) {
		fill_host_domain(record);
		return 0;
	}
#if HAVE_mem_cgroup_css
	FETCH(&cgroup, sizeof(cgroup), MEMBER(memcg, mem_cgroup, css), cgroup_subsys_state, cgroup);
	record->cgroup_version = version_of(cgroup);
	record->present |= FACT_cgroup_version;
#endif
	fill_cgroup_domain(record, memcg);
	directory = directory_of(cgroup);
	record->domain_cgroup_length = append_path(draft, 0, directory);
	draft->why_length = record->domain_cgroup_length;
	return (u64)directory;
}

/* An attempt that ended without a kill: the process had no memory left, and is spared. */
static __always_inline void close_attempt(struct draft *draft, struct attempt *attempt, u64 owner)
{
	struct process process;

	if (attempt->owner != owner)
		return;
	attempt->owner = 0;
	/* The kernel may have let go of it meanwhile. */
	process = process_of(attempt->task);
	if (!same_process(&process, &attempt->process) || marked.lookup(&process))
		return;
	marked.update(&process, &draft->record.decision_boottime_ns);
	count(COUNT_spared);
	record_victim(draft, attempt->task, 1);
}

/* oom_kill_process(struct oom_control *oc, const char *message): the decision, and why. */
static __always_inline int decide(void *oc, const char *message)
{
	int slot = 0;
	struct draft *draft = drafts.lookup(&slot);
	struct attempt *attempt = attempts.lookup(&slot);
	struct kill_record *record;
	void *chosen = NULL;
	u64 domain_directory;

	if (!draft || !attempt)
		return 0;
	count(COUNT_decisions);
	attempt->owner = 0;
	begin(draft);
	draft->owner = bpf_get_current_pid_tgid();
	record = &draft->record;
	record->decision_boottime_ns = bpf_ktime_get_boot_ns();
	record->present |= FACT_decision_boottime_ns;
	TAKE(record, total_pages, oc, oom_control, totalpages);
	TAKE(record, constraint, oc, oom_control, constraint);
	TAKE(record, order, oc, oom_control, order);
	TAKE(record, gfp_mask, oc, oom_control, gfp_mask);
	TAKE(record, chosen_points, oc, oom_control, chosen_points);
	if (FETCH(&chosen, sizeof(chosen), oc, oom_control, chosen) == 0)
		TAKE(record, chosen_pid, chosen, task_struct, tgid);
	if (bpf_probe_read_kernel_str(record->reason, sizeof(record->reason), message) > 0)
		record->present |= FACT_reason;
	domain_directory = fill_domain(draft, oc, chosen);
	fill_trigger(draft, domain_directory);
	return 0;
}

/* oom_kill_process returns: no further kill belongs to this decision. */
static __always_inline int close_decision(void)
{
	int slot = 0;
	u64 owner = bpf_get_current_pid_tgid();
	struct draft *draft = drafts.lookup(&slot);
	struct attempt *attempt = attempts.lookup(&slot);

	if (!draft || !attempt || draft->owner != owner)
		return 0;
	close_attempt(draft, attempt, owner);
	draft->owner = 0;
	return 0;
}

/* __oom_kill_process(struct task_struct *victim, const char *message): a kill may follow. */
static __always_inline int attempt_kill(void *task)
{
	int slot = 0;
	u64 owner = bpf_get_current_pid_tgid();
	struct draft *draft = drafts.lookup(&slot);
	struct attempt *attempt = attempts.lookup(&slot);

	if (!draft || !attempt)
		return 0;
	count(COUNT_attempts);
	if (draft->owner == owner)
		close_attempt(draft, attempt, owner);
	attempt->owner = owner;
	attempt->task = task;
	attempt->process = process_of(task);
	return 0;
}

/* mark_oom_victim(struct task_struct *task): the kill, when it ends an attempt. */
static __always_inline int mark(void *task)
{
	int slot = 0, spared;
	u64 owner = bpf_get_current_pid_tgid(), now;
	struct attempt *attempt = attempts.lookup(&slot);
	struct draft *draft = drafts.lookup(&slot);
	struct process process = process_of(task);
	u64 *before = marked.lookup(&process);

	if (!attempt || !draft)
		return 0;
	spared = attempt->owner != owner;
	attempt->owner = 0;
	/* Once, and not a further thread of what was killed. */
	if (spared && before)
		return 0;
	/* Not so: the decision's own probe was missed, or there is none, and its why is not known. */
	if (draft->owner != owner) {
		begin(draft);
		fill_trigger(draft, 0);
	}
	now = draft->record.decision_boottime_ns;
	if (spared) {
		count(COUNT_spared);
	} else {
		count(COUNT_kills);
		if (before && *before == now && draft->owner == owner) {
			count(COUNT_repeats);
			return 0;
		}
	}
	marked.update(&process, &now);
	record_victim(draft, task, spared);
	return 0;
}

/* exit_oom_victim(void): in the context of the victim's thread that was marked. */
static __always_inline int release(void)
{
	record_release((void *)bpf_get_current_task());
	return 0;
}

#endif

#ifdef LEVEL_kprobe

int on_decision(struct pt_regs *ctx)
{
	return decide((void *)PT_REGS_PARM1(ctx), (const char *)PT_REGS_PARM2(ctx));
}

int on_decision_closed(struct pt_regs *ctx)
{
	return close_decision();
}

int on_attempt(struct pt_regs *ctx)
{
	return attempt_kill((void *)PT_REGS_PARM1(ctx));
}

int on_mark(struct pt_regs *ctx)
{
	return mark((void *)PT_REGS_PARM1(ctx));
}

int on_release(struct pt_regs *ctx)
{
	return release();
}

#endif

#ifdef LEVEL_fentry

KFUNC_PROBE(oom_kill_process, void *oc, const char *message)
{
	return decide(oc, message);
}

KRETFUNC_PROBE(oom_kill_process)
{
	return close_decision();
}

KFUNC_PROBE(__oom_kill_process, void *task)
{
	return attempt_kill(task);
}

KFUNC_PROBE(mark_oom_victim, void *task)
{
	return mark(task);
}

KFUNC_PROBE(exit_oom_victim)
{
	return release();
}

#endif

#ifdef LEVEL_tracepoint
/*
 * oom:mark_victim fires once per marked thread: also for threads of a process that is exiting anyway, and on
 * newer kernels for further threads of a process killed before. What tells a kill is the signal: inside
 * __oom_kill_process, SIGKILL is sent right before the mark, by the same task, which holds the victim's
 * task_lock meanwhile and so stays on its CPU. A further such signal by the same task to a process that it has
 * killed is a further hit of a group kill, which may make no mark; not so when the process has no memory any more
 * (a PID namespace that ends signals its dead, too), nor right after the kill of another process that shares its
 * memory (the kernel signals all that share it).
 *
 * Not seen: a kill of a process that was marked, as spared, in an earlier decision and has not ended since.
 */
#define SIGKILL 9
#define SEND_SIG_PRIV 1 /* include/linux/sched/signal.h: sent by the kernel itself */

struct signal {
	u64 owner; /* pid_tgid of the sender; 0: none is waited for */
	void *task;
	struct process target;
};

struct last_kill {
	u64 killer;
	struct process process;
	void *mm;
};

BPF_PERCPU_ARRAY(signals, struct signal, 1);
BPF_ARRAY(last_kills, struct last_kill, 1); /* kills never overlap: one slot */

static __always_inline void *mm_of(void *task)
{
	void *mm = NULL;

	FETCH(&mm, sizeof(mm), task, task_struct, mm);
	return mm;
}

/* Whether this signal to a process that its sender has killed before is a further hit of a group kill. */
static __always_inline int hits_again(struct signal *signal)
{
	int slot = 0;
	struct last_kill *last = last_kills.lookup(&slot);
	void *mm = mm_of(signal->task);

	if (!last || !mm)
		return 0;
	/* A sharer of what was killed just now; the chosen process itself may be both the last kill and the target. */
	return !(last->killer == signal->owner && last->mm == mm && !same_process(&last->process, &signal->target));
}

/* signal:signal_generate(int sig, struct kernel_siginfo *info, struct task_struct *task, …) */
int on_signal(struct bpf_raw_tracepoint_args *ctx)
{
	int slot = 0;
	struct signal *signal;
	u64 *killer;

	if ((u32)ctx->args[0] != SIGKILL || ctx->args[1] != SEND_SIG_PRIV)
		return 0;
	signal = signals.lookup(&slot);
	if (!signal)
		return 0;
	signal->owner = bpf_get_current_pid_tgid();
	signal->task = (void *)ctx->args[2];
	signal->target = process_of(signal->task);
	killer = marked.lookup(&signal->target);
	if (killer && *killer == signal->owner) {
		if (hits_again(signal)) {
			count(COUNT_kills);
			count(COUNT_repeats);
		}
		signal->owner = 0;
	}
	return 0;
}

/* The thread that the tracepoint is about; NULL where an older kernel gives a number that leads nowhere. */
static __always_inline void *marked_task(u64 argument, struct signal *signal)
{
#ifdef MARK_GIVES_TASK
	return (void *)argument;
#else
	u32 tid = 0;

	if (signal->owner == bpf_get_current_pid_tgid()) {
		FETCH(&tid, sizeof(tid), signal->task, task_struct, pid);
		if (tid == (u32)argument)
			return signal->task;
	}
	/* Spared: most often the very task that asked for memory. */
	return (u32)bpf_get_current_pid_tgid() == (u32)argument ? (void *)bpf_get_current_task() : NULL;
#endif
}

/* oom:mark_victim(struct task_struct *task, …); before Linux 6.9 and its like in stable trees: (int pid). */
int on_victim_marked(struct bpf_raw_tracepoint_args *ctx)
{
	int slot = 0;
	struct signal *signal = signals.lookup(&slot);
	struct process process;
	struct last_kill *last = last_kills.lookup(&slot);
	struct draft *draft = drafts.lookup(&slot);
	u64 owner = bpf_get_current_pid_tgid(), killer = 0;
	u64 *known;
	void *task;

	if (!signal || !last || !draft)
		return 0;
	task = marked_task(ctx->args[0], signal);
	if (!task) {
		count(COUNT_spared);
		return 0;
	}
	process = process_of(task);
	if (signal->owner == owner && same_process(&signal->target, &process)) {
		signal->owner = 0;
		killer = owner;
	}
	known = marked.lookup(&process);
	if (known && (*known || !killer))
		return 0; /* a further thread of it */
	marked.update(&process, &killer);
	if (killer) {
		last->killer = owner;
		last->process = process;
		last->mm = mm_of(task);
	}
	count(killer ? COUNT_kills : COUNT_spared);
	begin(draft);
	fill_trigger(draft, 0);
	record_victim(draft, task, !killer);
	return 0;
}

/*
 * sched:sched_process_exit(struct task_struct *task): for every thread that ends, after it let go of its memory. Where
 * it has a second argument it comes before that (Linux 6.16, "exit: move and extend sched_process_exit()
 * tracepoint"), finds the memory in use, and tells of nothing.
 */
int on_exit(struct bpf_raw_tracepoint_args *ctx)
{
	record_release((void *)ctx->args[0]);
	return 0;
}

#endif
